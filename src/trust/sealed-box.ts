import { CompactEncrypt, compactDecrypt, importJWK } from "jose";
import { invariant } from "../fault/fault.ts";
import type { X25519Jwk } from "../protocol/scalars.ts";
import type { SealingKey } from "./keys.ts";

/** Seals bytes to an X25519 key: JWE compact, ECDH-ES with A256GCM (RFC 7518 section 4.6, RFC 8037 section 3.2). */
export async function seal(plain: Uint8Array, to: { kid: string; jwk: X25519Jwk }): Promise<string> {
  const key = await importJWK(to.jwk, "ECDH-ES");
  invariant(key instanceof CryptoKey, "an OKP JWK imports as a CryptoKey");
  return await new CompactEncrypt(plain)
    .setProtectedHeader({ alg: "ECDH-ES", enc: "A256GCM", kid: to.kid })
    .encrypt(key);
}

/** Opens what `seal` made; throws whatever the library found wrong, the caller names the fault. */
export async function unseal(box: string, key: SealingKey): Promise<Uint8Array> {
  const { plaintext } = await compactDecrypt(box, key.privateKey, {
    keyManagementAlgorithms: ["ECDH-ES"],
    contentEncryptionAlgorithms: ["A256GCM"],
  });
  return plaintext;
}
