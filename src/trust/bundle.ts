import { createHash, createPublicKey, createVerify, type KeyObject, timingSafeEqual } from "node:crypto";
import type { Bundle } from "@sigstore/bundle";
import * as v from "valibot";
import { fault, isFault, reasonOf } from "../fault/fault.ts";
import { parseDocument } from "../protocol/json.ts";

/** A bundle is a few hundred bytes; cosign's with everything optional in it a few thousand. */
export const BUNDLE_BYTES_MAX = 65_536;

const MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json";
const CURVE = "prime256v1";

/** What was found. `signer` is the pinned PEM under which the bytes verify. */
export type BundleVerdict =
  | { readonly ok: true; readonly signer: string }
  | { readonly ok: false; readonly why: string };

/**
 * Verifies bytes against a Sigstore bundle v0.3 made with a key (`cosign sign-blob --key --bundle`), offline, under the
 * pinned keys alone. The bytes are read as a stream, once, and never held together. In order: size and strict JSON,
 * bundle format, key material and message signature, key pinned by its hint (base64 SHA-256 of its SPKI), ECDSA P-256
 * signature, and the bundle's digest against our own. Transparency log entries count for nothing and are not looked at.
 * Whatever the library throws is a refusal.
 */
export async function verifyBundle(
  bytes: AsyncIterable<Uint8Array>,
  bundleText: Uint8Array,
  pinnedPems: readonly string[],
): Promise<BundleVerdict> {
  try {
    const signed = await readBundle(bundleText);
    const pinned = pinnedPems.map(readPin).find(({ hint }) => hint === signed.hint);
    if (pinned === undefined) throw refusal("it is signed with a key this build does not trust");
    const hash = createHash("sha256");
    const verifier = createVerify("sha256");
    for await (const chunk of bytes) {
      hash.update(chunk);
      verifier.update(chunk);
    }
    await verifySignature(signed, pinned, (key) => verifier.verify(key, signed.signature));
    const digest = hash.digest();
    if (digest.length !== signed.digest.length || !timingSafeEqual(digest, signed.digest)) {
      throw refusal("its digest is not that of the file");
    }
    return { ok: true, signer: pinned.pem };
  } catch (error) {
    return {
      ok: false,
      why: isFault(error, "RELEASE_TAMPERED") ? String(error.params["why"]) : reasonOf(error),
    };
  }
}

interface SignedMessage {
  readonly hint: string;
  readonly signature: Buffer;
  readonly digest: Buffer;
}

interface Pin {
  readonly pem: string;
  readonly hint: string;
  readonly key: KeyObject;
}

async function readBundle(text: Uint8Array): Promise<SignedMessage> {
  if (text.length > BUNDLE_BYTES_MAX) throw refusal(`it is larger than ${BUNDLE_BYTES_MAX} bytes`);
  const document = parseDocument(text, v.record(v.string(), v.unknown()));
  if (!document.ok) throw refusal(`it ${document.why}`);
  const { bundleFromJSON } = await import("@sigstore/bundle");
  let bundle: Bundle;
  try {
    bundle = bundleFromJSON(document.value);
  } catch (error) {
    throw refusal(`it is not a Sigstore bundle (${reasonOf(error)})`);
  }
  if (bundle.mediaType !== MEDIA_TYPE) throw refusal(`its media type is "${bundle.mediaType}"`);
  const material = bundle.verificationMaterial.content;
  if (material.$case !== "publicKey") throw refusal("it names no key but a certificate");
  if (bundle.content.$case !== "messageSignature") throw refusal("it signs a statement, not a file");
  const { messageDigest, signature } = bundle.content.messageSignature;
  return { hint: material.publicKey.hint, signature, digest: messageDigest.digest };
}

function readPin(pem: string): Pin {
  const key = createPublicKey(pem);
  if (key.asymmetricKeyType !== "ec" || key.asymmetricKeyDetails?.namedCurve !== CURVE) {
    throw refusal("a pinned key is not ECDSA P-256");
  }
  const spki = key.export({ type: "spki", format: "der" });
  return { pem, key, hint: createHash("sha256").update(spki).digest("base64") };
}

/** The library's own verifier over a signature whose message has gone by already. */
async function verifySignature(
  signed: SignedMessage,
  pin: Pin,
  check: (key: KeyObject) => boolean,
): Promise<void> {
  const { Verifier } = await import("@sigstore/verify");
  const nobody = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
  const publicKey = (hint: string) => {
    if (hint !== pin.hint) throw refusal("it is signed with a key this build does not trust");
    return { publicKey: pin.key, validFor: () => true };
  };
  const equal = (a: Buffer, b: Buffer) => a.length === b.length && timingSafeEqual(a, b);
  const signature = {
    signature: signed.signature,
    compareSignature: (other: Buffer) => equal(other, signed.signature),
    compareDigest: (other: Buffer) => equal(other, signed.digest),
    compareSignedDigest: (other: Buffer) => equal(other, signed.digest),
    verifySignature: check,
  };
  const verifier = new Verifier(
    { ...nobody, publicKey },
    { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 },
  );
  verifier.verify({
    signature,
    key: { $case: "public-key", hint: signed.hint },
    tlogEntries: [],
    timestamps: [],
  });
}

const refusal = (why: string) => fault("RELEASE_TAMPERED", { why });
