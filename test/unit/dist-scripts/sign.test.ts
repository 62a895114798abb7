// Goal: whoever has the public key can check a built file with tools that are not ours.
// Method: sign a file with a fresh development key and verify it with openssl and with sigstore's verifier.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash, createPublicKey } from "node:crypto";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BundleWithPublicKey, bundleFromJSON } from "@sigstore/bundle";
import { TrustedRoot } from "@sigstore/protobuf-specs";
import { toSignedEntity, toTrustMaterial, Verifier } from "@sigstore/verify";
import { type KeyBundle, signFile } from "../../../dist-scripts/sign.ts";
import { developmentKey, type SigningKey } from "../../../dist-scripts/signing-key.ts";

const root = mkdtempSync(join(tmpdir(), "agentina-sign-"));
const artifact = join(root, "artifact");
// More than one piece of the stream, and not a whole number of them.
const content = Buffer.alloc(3_000_001, "signed bytes ");
let key: SigningKey;
let bundle: KeyBundle;

beforeAll(async () => {
  await Bun.write(artifact, content);
  key = await developmentKey(root);
  bundle = await signFile(artifact, key.privateKey);
});

afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("a development key", () => {
  test("is made once and readable by its owner alone", async () => {
    const again = await developmentKey(root);
    expect(again.publicKeyPem).toBe(key.publicKeyPem);
    expect(statSync(join(root, ".agentina-dev")).mode & 0o777).toBe(0o700);
    expect(statSync(join(root, ".agentina-dev", "signing-key.pem")).mode & 0o777).toBe(0o600);
    expect(key.privateKey.asymmetricKeyDetails?.namedCurve).toBe("prime256v1");
  });

  test("is one even when several builds make it at once", async () => {
    const elsewhere = join(root, "race");
    const keys = await Promise.all(Array.from({ length: 4 }, () => developmentKey(elsewhere)));
    expect(new Set(keys.map(({ publicKeyPem }) => publicKeyPem)).size).toBe(1);
  });
});

describe("a key that is no key", () => {
  test("is named with what to do about it", async () => {
    await Bun.write(join(root, "broken", ".agentina-dev", "signing-key.pem"), "not a key");
    await expect(developmentKey(join(root, "broken"))).rejects.toThrow("remove the directory");
  });
});

describe("a bundle", () => {
  test("verifies with openssl", async () => {
    expect(await opensslVerify(artifact)).toBe(0);
  });

  test("does not verify with openssl for other bytes", async () => {
    const altered = join(root, "altered");
    await Bun.write(altered, Buffer.concat([content, Buffer.from("!")]));
    expect(await opensslVerify(altered)).not.toBe(0);
  });

  test("verifies with sigstore's verifier, and not for other bytes", () => {
    expect(() => sigstoreVerify(content)).not.toThrow();
    expect(() => sigstoreVerify(content.subarray(1))).toThrow();
  });

  test("names the digest of the file and the key as cosign does", () => {
    const spki = createPublicKey(key.publicKeyPem).export({ type: "spki", format: "der" });
    expect(bundle.verificationMaterial.publicKey.hint).toBe(sha256(spki));
    expect(bundle.messageSignature.messageDigest).toEqual({ algorithm: "SHA2_256", digest: sha256(content) });
  });
});

async function opensslVerify(file: string): Promise<number> {
  const signature = join(root, "artifact.sig");
  await Bun.write(signature, Buffer.from(bundle.messageSignature.signature, "base64"));
  const publicKey = join(root, ".agentina-dev", "signing-key.pub.pem");
  const openssl = Bun.which("openssl") ?? "openssl";
  const cmd = [openssl, "dgst", "-sha256", "-verify", publicKey, "-signature", signature, file];
  return await Bun.spawn({ cmd, stdout: "ignore", stderr: "ignore", env: {} }).exited;
}

function sigstoreVerify(bytes: Buffer): void {
  const parsed = bundleFromJSON(JSON.parse(JSON.stringify(bundle))) as BundleWithPublicKey;
  const trustedRoot = TrustedRoot.fromJSON({
    mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
  });
  const publicKey = createPublicKey(key.publicKeyPem);
  const trust = toTrustMaterial(trustedRoot, () => ({ publicKey, validFor: () => true }));
  const verifier = new Verifier(trust, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 });
  verifier.verify(toSignedEntity(parsed, bytes));
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("base64");
}
