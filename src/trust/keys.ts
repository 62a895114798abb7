import {
  calculateJwkThumbprint,
  exportJWK,
  exportPKCS8,
  generateKeyPair,
  importJWK,
  importPKCS8,
} from "jose";
import { fault, invariant, reasonOf } from "../fault/fault.ts";
import { base62Digest } from "../protocol/ids.ts";
import type { Ed25519Jwk, X25519Jwk } from "../protocol/scalars.ts";

/** A signing key with its public half; `kid` is the RFC 7638 thumbprint of the public JWK. */
export interface SigningKey {
  readonly kid: string;
  readonly jwk: Ed25519Jwk;
  readonly privateKey: CryptoKey;
}

/** An X25519 key that opens JWEs (RFC 8037 section 3.2). */
export interface SealingKey {
  readonly kid: string;
  readonly jwk: X25519Jwk;
  readonly privateKey: CryptoKey;
}

/** RFC 7638 SHA-256 thumbprint, base64url. */
export const thumbprint = (jwk: Ed25519Jwk | X25519Jwk): Promise<string> =>
  calculateJwkThumbprint(jwk, "sha256");

/** The same thumbprint as activation tokens write it: 43 base62 characters. */
export async function tokenThumbprint(root: Ed25519Jwk): Promise<string> {
  return base62Digest(Buffer.from(await thumbprint(root), "base64url"), 43);
}

/** Makes an Ed25519 key; the second value is what goes on disk (PKCS#8 PEM, RFC 8410). */
export async function makeSigningKey(): Promise<{ key: SigningKey; pem: string }> {
  const pair = await generateKeyPair("EdDSA", { crv: "Ed25519", extractable: true });
  const pem = await exportPKCS8(pair.privateKey);
  return { key: await signingKeyOf(pair.privateKey), pem };
}

/** Makes an X25519 key; the second value is what goes on disk. */
export async function makeSealingKey(): Promise<{ key: SealingKey; pem: string }> {
  const pair = await generateKeyPair("ECDH-ES", { crv: "X25519", extractable: true });
  const pem = await exportPKCS8(pair.privateKey);
  return { key: await sealingKeyOf(pair.privateKey), pem };
}

/** Reads an Ed25519 key from its PEM. Throws KEYPAIR_INVALID naming `path`. */
export async function readSigningKey(pem: string, path: string): Promise<SigningKey> {
  return await signingKeyOf(await importPem(pem, "EdDSA", path));
}

/** Reads an X25519 key from its PEM. Throws KEYPAIR_INVALID naming `path`. */
export async function readSealingKey(pem: string, path: string): Promise<SealingKey> {
  return await sealingKeyOf(await importPem(pem, "ECDH-ES", path));
}

/** Imports a public Ed25519 key for verification. */
export async function importVerifyKey(jwk: Ed25519Jwk): Promise<CryptoKey> {
  const key = await importJWK(jwk, "EdDSA");
  invariant(key instanceof CryptoKey, "an OKP JWK imports as a CryptoKey");
  return key;
}

async function importPem(pem: string, alg: string, path: string): Promise<CryptoKey> {
  try {
    return await importPKCS8(pem, alg, { extractable: true });
  } catch (error) {
    throw fault("KEYPAIR_INVALID", { path, why: reasonOf(error) }, error);
  }
}

async function signingKeyOf(privateKey: CryptoKey): Promise<SigningKey> {
  const { x } = await exportJWK(privateKey);
  invariant(typeof x === "string", "an Ed25519 key has a public part");
  const jwk: Ed25519Jwk = { kty: "OKP", crv: "Ed25519", x };
  return { kid: await thumbprint(jwk), jwk, privateKey };
}

async function sealingKeyOf(privateKey: CryptoKey): Promise<SealingKey> {
  const { x } = await exportJWK(privateKey);
  invariant(typeof x === "string", "an X25519 key has a public part");
  const jwk: X25519Jwk = { kty: "OKP", crv: "X25519", x };
  return { kid: await thumbprint(jwk), jwk, privateKey };
}
