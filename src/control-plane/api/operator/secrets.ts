import * as v from "valibot";
import { fault } from "../../../fault/fault.ts";
import { EnvNameSchema } from "../../../protocol/scope.ts";
import { SECRETS_API, SecretPutSchema } from "../../../protocol/secret.ts";
import { keepSecret, secretView } from "../../secrets/keep.ts";
import { listSecrets, removeSecret } from "../../store/secrets.ts";
import { parseBody } from "../body.ts";
import { json } from "../json.ts";
import type { OperatorRoute } from "../route.ts";

/** A value of the longest, every byte of it escaped, and its limits. */
const BODY_BYTES = 131_072;

/** `PUT /api/v1/secrets/<name>`: keeps a value. It is never answered, here or anywhere. */
export const putSecretRoute: OperatorRoute = {
  method: "PUT",
  path: SECRETS_API.secret(":name"),
  who: "operator",
  body: { type: "json", limit: BODY_BYTES },
  query: [],
  handle: async ({ principal: { accountId }, services, params, body, nowMs }) => {
    const name = nameOf(params);
    const put = parseBody(body, SecretPutSchema);
    const { vault } = services;
    const row = await services.store.write((db) => keepSecret(db, accountId, name, put, { vault, nowMs }));
    services.log("info", "secret set", { secret: name });
    return json(secretView(row, vault));
  },
};

/** `GET /api/v1/secrets`: names, limits and times. */
export const secretsRoute: OperatorRoute = {
  method: "GET",
  path: SECRETS_API.secrets,
  who: "operator",
  body: { type: "none" },
  query: [],
  handle: async ({ principal: { accountId }, services: { store, vault } }) => {
    const rows = await listSecrets(store.db, accountId);
    return json({ secrets: rows.map((row) => secretView(row, vault)) });
  },
};

/** `DELETE /api/v1/secrets/<name>`: jobs that wait for it end refused. */
export const removeSecretRoute: OperatorRoute = {
  method: "DELETE",
  path: SECRETS_API.secret(":name"),
  who: "operator",
  body: { type: "none" },
  query: [],
  handle: async ({ principal: { accountId }, services, params }) => {
    const name = nameOf(params);
    const done = await services.store.write((db) => removeSecret(db, accountId, name));
    if (!done) throw fault("API_NOT_FOUND", { what: `a secret "${name}"` });
    services.log("info", "secret removed", { secret: name });
    return json({ name, removed: true });
  },
};

function nameOf(params: Readonly<Record<string, string>>): string {
  const name = v.safeParse(EnvNameSchema, params["name"]);
  if (name.success) return name.output;
  throw fault("API_BODY_MALFORMED", { path: "(path)", why: "must end in the name of a variable" });
}
