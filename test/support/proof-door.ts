// What a Control Plane checks of a DPoP proof (RFC 9449 section 4.3) before it looks at the request it came with.

import { createHash } from "node:crypto";
import * as v from "valibot";
import { LIMITS } from "../../src/protocol/limits.ts";
import type { Ed25519Jwk } from "../../src/protocol/scalars.ts";
import { TYP } from "../../src/protocol/trust.ts";
import { importVerifyKey, thumbprint } from "../../src/trust/keys.ts";
import { openJws } from "../../src/trust/strict-jws.ts";
import type { Exchange } from "./scripted-control.ts";

const ProofSchema = v.strictObject({
  htm: v.string(),
  htu: v.string(),
  jti: v.string(),
  iat: v.number(),
  bsha: v.string(),
  ath: v.optional(v.string()),
  nonce: v.optional(v.string()),
});
export const PROOF = {
  what: "proof",
  typ: TYP.dpop,
  maxBytes: LIMITS.SMALL_JWS_BYTES,
  schema: ProofSchema,
  embeddedJwk: true,
} as const;

export interface Proof {
  readonly claims: v.InferOutput<typeof ProofSchema>;
  /** Thumbprint of the key that made it. */
  readonly jkt: string;
}

export async function openProof({ headers }: Exchange): Promise<Proof> {
  const { claims, header } = await openJws(headers.get("dpop"), PROOF, ({ jwk }) =>
    importVerifyKey(jwk as Ed25519Jwk),
  );
  return { claims, jkt: await thumbprint(header.jwk as Ed25519Jwk) };
}

const digest = (data: string | Uint8Array) => createHash("sha256").update(data).digest("base64url");

/** What of the request a proof was not made for; null when it fits. */
export function misfitOf(
  claims: Proof["claims"],
  { method, url, body }: Exchange,
  token: string | null,
  nowS: number,
): string | null {
  const checks: readonly (readonly [boolean, string])[] = [
    [claims.htm === method, "method"],
    [claims.htu === url.origin + url.pathname, "url"],
    [claims.bsha === digest(body), "body"],
    [claims.ath === (token === null ? undefined : digest(token)), "token"],
    [Math.abs(claims.iat - nowS) <= LIMITS.DPOP_AGE_S, "time"],
  ];
  return checks.find(([right]) => !right)?.[1] ?? null;
}
