import {
  KEYS_API,
  KeyRequestAskSchema,
  KeyRevokeSchema,
  KeyRotateSchema,
} from "../../../protocol/api-keys.ts";
import { LIMITS } from "../../../protocol/limits.ts";
import { TrustDocumentSchema } from "../../../protocol/trust.ts";
import { keyList } from "../../keys/key-list.ts";
import type { KeyChange } from "../../keys/keyring.ts";
import { expireLicenses, revokedLicenseKeys } from "../../keys/revoked-licenses.ts";
import { parseBody } from "../body.ts";
import { json } from "../json.ts";
import type { OperatorRoute } from "../route.ts";
import type { Services } from "../services.ts";

const post = {
  method: "POST",
  who: "operator",
  body: { type: "json", limit: LIMITS.API_BODY_BYTES },
  query: [],
} as const;

/** `GET /api/v1/keys`: windows, who signs now, what asks for a person. */
export const keysRoute: OperatorRoute = {
  method: "GET",
  path: KEYS_API.keys,
  who: "operator",
  body: { type: "none" },
  query: [],
  handle: async ({ services, nowMs }) => await listed(services, nowMs),
};

/** `POST /api/v1/keys/rotate`: successors, known at once, signing in seven days or now. */
export const rotateKeysRoute: OperatorRoute = {
  ...post,
  path: KEYS_API.rotate,
  handle: async ({ services, body, nowMs }) => {
    const { uses, now } = parseBody(body, KeyRotateSchema);
    await changeKeys({ rotate: uses, atOnce: now, revoke: [] }, "", services, nowMs);
    services.log("info", "keys rotated", { uses, now, trust_seq: services.keys.current().claims.seq });
    return await listed(services, nowMs);
  },
};

/** `POST /api/v1/keys/revoke`: good for nothing from now on, whatever it signed. */
export const revokeKeyRoute: OperatorRoute = {
  ...post,
  path: KEYS_API.revoke,
  handle: async ({ services, body, nowMs }) => {
    const { kid, reason } = parseBody(body, KeyRevokeSchema);
    await changeKeys({ rotate: [], atOnce: true, revoke: [kid] }, reason, services, nowMs);
    services.log("warn", "key revoked", { kid, reason, trust_seq: services.keys.current().claims.seq });
    return await listed(services, nowMs);
  },
};

/** `POST /api/v1/keys/request`: what the trust root is asked to sign. */
export const requestKeysRoute: OperatorRoute = {
  ...post,
  path: KEYS_API.request,
  handle: async ({ services, body, nowMs }) => {
    const { rotate, now, revoke } = parseBody(body, KeyRequestAskSchema);
    const request = await services.keys.request({ rotate, atOnce: now, revoke }, Math.floor(nowMs / 1000));
    services.log("info", "key set requested", { seq: request.claims.seq });
    return json(request);
  },
};

/** `POST /api/v1/keys/install`: a key set the trust root has signed. */
export const installKeysRoute: OperatorRoute = {
  ...post,
  path: KEYS_API.install,
  handle: async ({ services, body, nowMs }) => {
    const document = parseBody(body, TrustDocumentSchema);
    const nowS = Math.floor(nowMs / 1000);
    await inOneStep(services, () => services.keys.install(document, nowS));
    services.log("info", "key set installed", { trust_seq: services.keys.current().claims.seq });
    return await listed(services, nowMs);
  },
};

const changeKeys = (change: KeyChange, reason: string, services: Services, nowMs: number): Promise<void> =>
  inOneStep(services, () => services.keys.change(change, reason, Math.floor(nowMs / 1000)));

/**
 * Between two groups of heartbeats, so that no reply tells of a revoked license key without bringing the license that
 * takes the old one's place.
 */
async function inOneStep({ store, keys }: Services, change: () => Promise<void>): Promise<void> {
  await store.write(async (db) => {
    await change();
    await expireLicenses(db, revokedLicenseKeys(keys.current().claims));
  });
}

const listed = async ({ keys, ledger }: Services, nowMs: number): Promise<Response> =>
  json(await keyList(keys, ledger, Math.floor(nowMs / 1000)));
