import { createHmac, timingSafeEqual } from "node:crypto";
import * as v from "valibot";
import { fault } from "../../fault/fault.ts";
import { decodeBase64url, encodeBase64url } from "../../protocol/base64url.ts";
import {
  type AccountId,
  AccountIdSchema,
  type AgentId,
  AgentIdSchema,
  ControlPlaneIdSchema,
} from "../../protocol/ids.ts";
import { parseDocument } from "../../protocol/json.ts";
import { LIMITS } from "../../protocol/limits.ts";
import { EpochSecondsSchema } from "../../protocol/scalars.ts";
import { TYP } from "../../protocol/trust.ts";

/** Claims of an access token (RFC 9068), bound to the agent's key (RFC 9449 section 6.1). */
const BearerClaimsSchema = v.strictObject({
  iss: ControlPlaneIdSchema,
  sub: AgentIdSchema,
  account: AccountIdSchema,
  jti: v.pipe(v.string(), v.maxLength(64)),
  cnf: v.strictObject({ jkt: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/)) }),
  iat: EpochSecondsSchema,
  exp: EpochSecondsSchema,
});
export type BearerClaims = v.InferOutput<typeof BearerClaimsSchema>;

export interface BearerSubject {
  readonly accountId: AccountId;
  readonly agentId: AgentId;
  readonly jkt: string;
}

/** Whoever checks these tokens made them, so one HMAC over one fixed header is all they need. */
const HEADER = encodeBase64url(JSON.stringify({ alg: "HS256", typ: TYP.bearer }));

/** Makes a ten-minute access token. */
export function makeBearer(
  secret: Uint8Array,
  subject: BearerSubject,
  issuer: BearerClaims["iss"],
  at: { readonly nowS: number; readonly jti: string },
): string {
  const claims: BearerClaims = {
    iss: issuer,
    sub: subject.agentId,
    account: subject.accountId,
    jti: at.jti,
    cnf: { jkt: subject.jkt },
    iat: at.nowS,
    exp: at.nowS + LIMITS.BEARER_TTL_S,
  };
  const signed = `${HEADER}.${encodeBase64url(JSON.stringify(claims))}`;
  return `${signed}.${mac(secret, signed)}`;
}

/** Checks an access token of our own making: its MAC over the very text, then its times. Throws BEARER_INVALID. */
export function openBearer(secret: Uint8Array, token: string, nowS: number): BearerClaims {
  if (token.length > LIMITS.SMALL_JWS_BYTES) throw fault("BEARER_INVALID", { why: "it is too long" });
  const end = token.lastIndexOf(".");
  const signed = token.slice(0, end);
  const found = Buffer.from(token.slice(end + 1));
  const expected = Buffer.from(mac(secret, signed));
  if (end === -1 || found.length !== expected.length || !timingSafeEqual(found, expected)) {
    throw fault("BEARER_INVALID", { why: "this Control Plane did not make it" });
  }
  const [header, payload = "", ...more] = signed.split(".");
  const claims = parseDocument(decodeBase64url(payload) ?? "", BearerClaimsSchema);
  if (header !== HEADER || more.length > 0 || !claims.ok)
    throw fault("BEARER_INVALID", { why: "it is not an access token" });
  if (nowS >= claims.value.exp) throw fault("BEARER_INVALID", { why: "it has expired" });
  return claims.value;
}

const mac = (secret: Uint8Array, text: string): string =>
  createHmac("sha256", secret).update(text).digest("base64url");
