import { createHash } from "node:crypto";
import { fault } from "../../../fault/fault.ts";
import { mintActivationToken } from "../../../protocol/activation-token.ts";
import { API, PlanChangeSchema, TokenMintSchema } from "../../../protocol/api.ts";
import { LIMITS } from "../../../protocol/limits.ts";
import { tokenThumbprint } from "../../../trust/keys.ts";
import { planOf, savePlan } from "../../store/accounts.ts";
import { trimSlots } from "../../store/slots.ts";
import { addToken, revokeToken } from "../../store/tokens.ts";
import { parseBody } from "../body.ts";
import { json } from "../json.ts";
import type { OperatorRoute } from "../route.ts";

const body = { type: "json", limit: LIMITS.API_BODY_BYTES } as const;

/** `POST /api/v1/tokens`: mints an activation token; only its hash is kept. */
export const mintRoute: OperatorRoute = {
  method: "POST",
  path: API.tokens,
  who: "operator",
  body,
  query: [],
  handle: async ({ principal, services, body, nowMs }) => {
    const { label, ttl_s } = parseBody(body, TokenMintSchema);
    const root = services.keys.current().root.jwk;
    const { token, id, secret } = mintActivationToken(await tokenThumbprint(root), services.random);
    const secret_sha256 = createHash("sha256").update(secret).digest("hex");
    const expires_at = nowMs + ttl_s * 1000;
    await services.store.write((db) =>
      addToken(db, principal.accountId, { id, secret_sha256, label, created_at: nowMs, expires_at }),
    );
    services.log("info", "token minted", { token: id, ttl_s });
    return json({ id, token, label, expires_at }, 201);
  },
};

/** `DELETE /api/v1/tokens/<id>`: a token nobody has redeemed is good for nothing any more. */
export const revokeRoute: OperatorRoute = {
  method: "DELETE",
  path: API.token(":id"),
  who: "operator",
  body: { type: "none" },
  query: [],
  handle: async ({ principal, services, params, nowMs }) => {
    const id = params["id"] ?? "";
    const { accountId } = principal;
    const done = await services.store.write(async (db) => {
      const revoked = await revokeToken(db, accountId, id, nowMs);
      if (revoked) services.ledger.append({ type: "token_revoked", account: accountId, token: id }, nowMs);
      return revoked;
    });
    if (!done) throw fault("API_NOT_FOUND", { what: "such a token that nobody has redeemed" });
    services.log("info", "token revoked", { token: id });
    return json({ id, revoked_at: nowMs });
  },
};

/** `GET /api/v1/account/plan` */
export const planRoute: OperatorRoute = {
  method: "GET",
  path: API.accountPlan,
  who: "operator",
  body: { type: "none" },
  query: [],
  handle: async ({ principal, services }) => json(await planOf(services.store.db, principal.accountId)),
};

/** `PUT /api/v1/account/plan`: other numbers; licenses follow with the agents' next heartbeats. */
export const changePlanRoute: OperatorRoute = {
  method: "PUT",
  path: API.accountPlan,
  who: "operator",
  body,
  query: [],
  handle: async ({ principal: { accountId }, services, body, nowMs }) => {
    const { max_agents, max_concurrent_tasks_per_agent } = parseBody(body, PlanChangeSchema);
    const plan = await services.store.write(async (db) => {
      const known = await planOf(db, accountId);
      const next = {
        ...known,
        max_agents: max_agents ?? known.max_agents,
        max_concurrent_tasks_per_agent:
          max_concurrent_tasks_per_agent ?? known.max_concurrent_tasks_per_agent,
      };
      await savePlan(db, accountId, next);
      if (next.max_agents < known.max_agents) await trimSlots(db, accountId, next.max_agents, nowMs);
      return next;
    });
    const { name, kinds, ...numbers } = plan;
    services.log("info", "plan changed", numbers);
    services.wakes.tellAll(accountId);
    return json({ name, ...numbers, kinds });
  },
};
