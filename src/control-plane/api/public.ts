import { sql } from "kysely";
import { fault } from "../../fault/fault.ts";
import { ROUTES } from "../../protocol/wire.ts";
import { json } from "./json.ts";
import type { PublicRoute } from "./route.ts";

const open = { method: "GET", who: "public", body: { type: "none" }, query: [] } as const;

/** The process answers. */
export const healthRoute: PublicRoute = {
  ...open,
  path: "/healthz",
  handle: async () => json({ ok: true }),
};

/** The process answers and its database does, and it is not about to stop. */
export const readyRoute: PublicRoute = {
  ...open,
  path: "/readyz",
  handle: async ({ services }) => {
    if (services.stopping.aborted) return json({ ok: false, why: "stopping" }, 503);
    await sql`select 1`.execute(services.store.db);
    return json({ ok: true });
  },
};

/** `GET /.well-known/agentina`: the root key and the key set it signed. */
export const trustRoute: PublicRoute = {
  ...open,
  path: ROUTES.trust,
  handle: async ({ services }) => json(services.keys.current().document),
};

/** The installer is a signed release file that is served as it is; a Control Plane without one has nothing to give. */
export const installerRoute: PublicRoute = {
  ...open,
  path: "/install.sh",
  handle: async () => {
    throw fault("INSTALLER_NOT_PUBLISHED");
  },
};
