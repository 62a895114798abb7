import { LIMITS } from "../../../protocol/limits.ts";
import { ROUTES } from "../../../protocol/wire.ts";
import { readmit } from "../../activation/readmit.ts";
import { provenBy } from "../../auth/door.ts";
import { json } from "../json.ts";
import type { PublicRoute } from "../route.ts";

/** `POST /v1/readmit`: an agent that a restored server does not know shows its license. */
export const readmitRoute: PublicRoute = {
  method: "POST",
  path: ROUTES.readmit,
  who: "public",
  guarded: true,
  body: { type: "json", limit: LIMITS.ACTIVATE_BODY_BYTES },
  query: [],
  handle: async ({ request, body, services, nowMs }) => {
    const proven = await provenBy(request, body, services, nowMs);
    return json({ v: 1, agent_id: await readmit(body, proven, services, nowMs) });
  },
};
