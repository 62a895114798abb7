// Signs a file the way `cosign sign-blob --key --bundle` does: an ECDSA P-256 signature over its SHA-256
// in a Sigstore bundle v0.3, which cosign, sigstore-js and `openssl dgst -sha256 -verify` accept alike.

import { createHash, createPublicKey, createSign, type KeyObject } from "node:crypto";

/** JSON of `dev.sigstore.bundle.v1.Bundle` (sigstore/protobuf-specs) for a key and a message signature. */
export interface KeyBundle {
  readonly mediaType: "application/vnd.dev.sigstore.bundle.v0.3+json";
  readonly verificationMaterial: { readonly publicKey: { readonly hint: string } };
  readonly messageSignature: {
    readonly messageDigest: { readonly algorithm: "SHA2_256"; readonly digest: string };
    /** Base64 of the DER-encoded ECDSA signature. */
    readonly signature: string;
  };
}

/** Signs the file at `path`, reading it in pieces: a binary is over 100 MB. */
export async function signFile(path: string, privateKey: KeyObject): Promise<KeyBundle> {
  const hash = createHash("sha256");
  const signer = createSign("sha256");
  for await (const chunk of Bun.file(path).stream()) {
    hash.update(chunk);
    signer.update(chunk);
  }
  return {
    mediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
    verificationMaterial: { publicKey: { hint: keyHint(privateKey) } },
    messageSignature: {
      messageDigest: { algorithm: "SHA2_256", digest: hash.digest("base64") },
      signature: signer.sign(privateKey, "base64"),
    },
  };
}

/** How cosign names a key inside a bundle: base64 of the SHA-256 of its SubjectPublicKeyInfo. */
export function keyHint(privateKey: KeyObject): string {
  const spki = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  return createHash("sha256").update(spki).digest("base64");
}

/** Where the bundle of a file lies: beside it. */
export function bundlePath(path: string): string {
  return `${path}.sigstore.json`;
}
