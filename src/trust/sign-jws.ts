import { CompactSign } from "jose";
import type { SigningKey } from "./keys.ts";

/** Signs `claims` as a compact JWS with the header `{alg, kid, typ}`, in the order `openJws` accepts. */
export async function signJws(typ: string, key: SigningKey, claims: object): Promise<string> {
  return await new CompactSign(new TextEncoder().encode(JSON.stringify(claims)))
    .setProtectedHeader({ alg: "EdDSA", kid: key.kid, typ })
    .sign(key.privateKey);
}

/** The same with the public key embedded instead of named (RFC 9449 section 4.2). */
export async function signWithEmbeddedKey(typ: string, key: SigningKey, claims: object): Promise<string> {
  return await new CompactSign(new TextEncoder().encode(JSON.stringify(claims)))
    .setProtectedHeader({ alg: "EdDSA", jwk: key.jwk, typ })
    .sign(key.privateKey);
}
