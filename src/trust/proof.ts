import { createHash } from "node:crypto";
import { encodeBase64url } from "../protocol/base64url.ts";
import { TYP } from "../protocol/trust.ts";
import type { SigningKey } from "./keys.ts";
import { signJws, signWithEmbeddedKey } from "./sign-jws.ts";

/** What a DPoP proof is bound to (RFC 9449 section 4.2), plus `bsha`: the SHA-256 of the request body. */
export interface ProofInput {
  readonly method: string;
  /** Target URI without query and fragment. */
  readonly url: string;
  readonly body?: Uint8Array;
  readonly accessToken?: string;
  readonly nonce?: string;
  /** 128 random bits, base64url. */
  readonly jti: string;
  readonly nowS: number;
}

const sha256Base64url = (data: string | Uint8Array) => createHash("sha256").update(data).digest("base64url");

/** Signs one DPoP proof. */
export function makeProof(key: SigningKey, input: ProofInput): Promise<string> {
  return signWithEmbeddedKey(TYP.dpop, key, {
    htm: input.method,
    htu: input.url,
    jti: input.jti,
    iat: input.nowS,
    bsha: sha256Base64url(input.body ?? ""),
    ...(input.accessToken === undefined ? {} : { ath: sha256Base64url(input.accessToken) }),
    ...(input.nonce === undefined ? {} : { nonce: input.nonce }),
  });
}

/** Client assertion of `private_key_jwt` (RFC 7523 section 3), good for one minute. */
export function makeAssertion(
  key: SigningKey,
  input: { agentId: string; audience: string; jti: string; nowS: number },
): Promise<string> {
  const { agentId, audience, jti, nowS } = input;
  return signJws(TYP.assertion, key, {
    iss: agentId,
    sub: agentId,
    aud: audience,
    jti,
    iat: nowS,
    exp: nowS + 60,
  });
}

/**
 * 128 random bits as the wire writes nonces, request ids and proof ids. None begins with a dash: people name a process by
 * its own on a command line, where that would be an option.
 */
export const newNonce = (random: (count: number) => Uint8Array): string =>
  encodeBase64url(random(16)).replace(/^-/, "A");
