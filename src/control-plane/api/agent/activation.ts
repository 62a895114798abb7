import { fault } from "../../../fault/fault.ts";
import type { AccountId, AgentId } from "../../../protocol/ids.ts";
import { LIMITS } from "../../../protocol/limits.ts";
import { CLIENT_ASSERTION_TYPE, ROUTES } from "../../../protocol/wire.ts";
import { newNonce } from "../../../trust/proof.ts";
import { activate } from "../../activation/activate.ts";
import { checkAssertion } from "../../auth/assertion.ts";
import { makeBearer } from "../../auth/bearer.ts";
import { provenBy, spendProofs } from "../../auth/door.ts";
import { agentOfKey } from "../../store/agents.ts";
import { retiredKeys } from "../../store/retired-keys.ts";
import type { Reader } from "../../store/schema.ts";
import { parseForm } from "../body.ts";
import { json } from "../json.ts";
import type { PublicRoute } from "../route.ts";

/** `POST /v1/activate`: a token and a key become an agent. */
export const activateRoute: PublicRoute = {
  method: "POST",
  path: ROUTES.activate,
  who: "public",
  guarded: true,
  body: { type: "json", limit: LIMITS.ACTIVATE_BODY_BYTES },
  query: [],
  handle: async ({ request, body, services, nowMs }) => {
    const proven = await provenBy(request, body, services, nowMs);
    return json(await activate(body, proven, services, nowMs));
  },
};

/** `POST /v1/token`: client_credentials with private_key_jwt (RFC 6749 section 4.4, RFC 7523), bound by DPoP. */
export const tokenRoute: PublicRoute = {
  method: "POST",
  path: ROUTES.token,
  who: "public",
  guarded: true,
  body: { type: "form", limit: LIMITS.TOKEN_BODY_BYTES },
  query: [],
  handle: async ({ request, body, services, nowMs, limits }) => {
    const form = parseForm(body, ["grant_type", "client_assertion_type", "client_assertion"]);
    requireValue(form.grant_type, "grant_type", "client_credentials");
    requireValue(form.client_assertion_type, "client_assertion_type", CLIENT_ASSERTION_TYPE);
    const nowS = Math.floor(nowMs / 1000);
    const proven = await provenBy(request, body, services, nowMs);
    const audiences = [`${services.publicUrl}${ROUTES.token}`, services.publicUrl];
    const { agentId, proof } = await checkAssertion(form.client_assertion, proven, { audiences, nowS });
    limits.signIns.check(proven.jkt, nowMs);
    const accountId = await accountOfKey(services.store.db, agentId, proven.jkt);
    if (accountId === null) throw fault("AGENT_UNKNOWN");
    limits.signIns.spend(proven.jkt, nowMs);
    await spendProofs(services, accountId, [proven.proof, proof], nowMs);
    const ring = services.keys.current();
    const subject = { accountId, agentId, jkt: proven.jkt };
    const at = { nowS, jti: newNonce(services.random) };
    const access_token = makeBearer(ring.bearerSecret, subject, ring.claims.iss, at);
    return json({ access_token, token_type: "DPoP", expires_in: LIMITS.BEARER_TTL_S });
  },
};

/**
 * Whose key it is. One that another has followed gets access too: for the heartbeat, which tells who holds it that it is
 * over, and for nothing else.
 */
async function accountOfKey(db: Reader, agentId: AgentId, jkt: string): Promise<AccountId | null> {
  const agent = await agentOfKey(db, agentId, jkt);
  if (agent !== null) return agent.account_id;
  const retired = (await retiredKeys(db, [jkt])).get(jkt);
  return retired?.agent_id === agentId ? retired.account_id : null;
}

function requireValue(found: string, path: string, expected: string): void {
  if (found !== expected) throw fault("API_BODY_MALFORMED", { path, why: `must be "${expected}"` });
}
