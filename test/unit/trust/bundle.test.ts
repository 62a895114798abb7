// Goal: a file passes only with a bundle a pinned key made for exactly its bytes; anything else is a refusal, never a
// throw, and the file is never held in memory.
// Method: real keys and bundles of the build's own signer, cross-checked with openssl and the library's own path; then
// every part of the bundle spoiled.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash, createPublicKey, createSign, generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundleFromJSON } from "@sigstore/bundle";
import { toSignedEntity, Verifier } from "@sigstore/verify";
import { keyHint, signFile } from "../../../dist-scripts/sign.ts";
import { verifyBundle } from "../../../src/trust/bundle.ts";

const CONTENT = Buffer.from("the release, byte for byte\n".repeat(1000));
const ecKey = (namedCurve = "P-256") => generateKeyPairSync("ec", { namedCurve }).privateKey;
const pemOf = (key: KeyObject) => createPublicKey(key).export({ type: "spki", format: "pem" }).toString();

const key = ecKey();
const pinned = [pemOf(ecKey()), pemOf(key)];
let directory: string;
let file: string;
let good: Awaited<ReturnType<typeof signFile>>;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "agentina-bundle-"));
  file = join(directory, "agentina");
  await Bun.write(file, CONTENT);
  good = await signFile(file, key);
});
afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
});

async function* pieces(bytes: Uint8Array, size = 7): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
const json = (value: unknown) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
const verify = (bundle: unknown, bytes: Uint8Array = CONTENT, keys: readonly string[] = pinned) =>
  verifyBundle(pieces(bytes), json(bundle), keys);

/** The good bundle with a part of it replaced. */
const changed = (part: object) => ({ ...good, ...part });
const message = (part: object) => changed({ messageSignature: { ...good.messageSignature, ...part } });
const signatureOver = (bytes: Uint8Array, by: KeyObject) =>
  createSign("sha256").update(bytes).sign(by, "base64");

test("the bundle of the file's own key passes and names the key", async () => {
  expect(await verify(good)).toEqual({ ok: true, signer: pemOf(key) });
});

test("openssl and the library's own verifier agree", async () => {
  await Bun.write(join(directory, "key.pem"), pemOf(key));
  await Bun.write(join(directory, "sig"), Buffer.from(good.messageSignature.signature, "base64"));
  const openssl = Bun.spawnSync({
    cmd: ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "sig", "agentina"],
    cwd: directory,
    env: { PATH: "/usr/bin:/bin" },
  });
  expect(openssl.stdout.toString()).toContain("Verified OK");
  const none = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
  const trust = { ...none, publicKey: () => ({ publicKey: createPublicKey(key), validFor: () => true }) };
  const verifier = new Verifier(trust, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 });
  const bundle = bundleFromJSON(JSON.parse(JSON.stringify(good)));
  expect(() => verifier.verify(toSignedEntity(bundle, CONTENT))).not.toThrow();
  expect(() => verifier.verify(toSignedEntity(bundle, Buffer.from("other")))).toThrow();
});

describe("the file", () => {
  test.each<[string, Uint8Array]>([
    ["with a bit flipped", Buffer.concat([CONTENT.subarray(0, 9), Buffer.from([1]), CONTENT.subarray(10)])],
    ["cut short", CONTENT.subarray(0, -1)],
    ["with a byte more", Buffer.concat([CONTENT, Buffer.from("\n")])],
    ["emptied", Buffer.alloc(0)],
  ])("%s is refused", async (_, bytes) => {
    expect(await verify(good, bytes)).toMatchObject({ ok: false });
  });

  test("that cannot be read to its end is refused", async () => {
    async function* failing() {
      yield CONTENT.subarray(0, 10);
      throw new Error("EIO");
    }
    expect(await verifyBundle(failing(), json(good), pinned)).toEqual({ ok: false, why: "EIO" });
  });
});

describe("the bundle", () => {
  const digest = (bytes: string) => createHash("sha256").update(bytes).digest("base64");
  const other = ecKey();
  test.each<[string, () => unknown, RegExp]>([
    ["that is no JSON", () => "agentina", /is not JSON/],
    ["that is empty", () => "", /is not JSON/],
    ["that is an array", () => "[]", /must be an object|not a Sigstore bundle/],
    ["with a member twice", () => JSON.stringify(good).replace("{", '{"mediaType":"x",'), /twice/],
    ["that is too large", () => changed({ more: "x".repeat(70_000) }), /larger than/],
    ["of no known form", () => ({}), /not a Sigstore bundle/],
    [
      "of an older form",
      () => changed({ mediaType: "application/vnd.dev.sigstore.bundle+json;version=0.2" }),
      /media type/,
    ],
    [
      "of a later form",
      () => changed({ mediaType: "application/vnd.dev.sigstore.bundle.v0.4+json" }),
      /media type/,
    ],
    [
      "of another key that is not pinned",
      () => changed({ verificationMaterial: { publicKey: { hint: keyHint(other) } } }),
      /does not trust/,
    ],
    ["without a hint", () => changed({ verificationMaterial: { publicKey: {} } }), /does not trust/],
    [
      "with a certificate",
      () => changed({ verificationMaterial: { certificate: { rawBytes: "AAAA" } } }),
      /certificate/,
    ],
    [
      "with a statement",
      () => ({
        mediaType: good.mediaType,
        verificationMaterial: good.verificationMaterial,
        dsseEnvelope: { payload: "AAAA", payloadType: "x", signatures: [{ sig: "AAAA" }] },
      }),
      /statement/,
    ],
    ["without a signature", () => message({ signature: "" }), /not a Sigstore bundle/],
    ["without a digest", () => message({ messageDigest: undefined }), /not a Sigstore bundle/],
    ["with a signature that is none", () => message({ signature: "AAAA" }), /signature verification failed/],
    [
      "with a signature over other bytes",
      () => message({ signature: signatureOver(Buffer.from("x"), key) }),
      /signature verification failed/,
    ],
    [
      "with a signature of another key under the pinned hint",
      () => message({ signature: signatureOver(CONTENT, other) }),
      /signature verification failed/,
    ],
    [
      "with another digest under a good signature",
      () => message({ messageDigest: { algorithm: "SHA2_256", digest: digest("x") } }),
      /digest/,
    ],
    [
      "with a cut digest",
      () => message({ messageDigest: { algorithm: "SHA2_256", digest: digest("x").slice(0, 8) } }),
      /digest/,
    ],
  ])("%s is refused and says why", async (_, make, why) => {
    const verdict = await verify(make());
    expect(verdict.ok).toBe(false);
    if (!verdict.ok) expect(verdict.why).toMatch(why);
  });

  test("is refused when nothing is pinned, or only a key of another curve", async () => {
    expect(await verify(good, CONTENT, [])).toMatchObject({ ok: false });
    expect(await verify(good, CONTENT, [pemOf(ecKey("P-384"))])).toMatchObject({ ok: false });
    expect(await verify(good, CONTENT, ["nonsense"])).toMatchObject({ ok: false });
  });

  test("with any bit of its text flipped never passes for another file", async () => {
    const text = json(good);
    for (let bit = 0; bit < text.length * 8; bit += 13) {
      const flipped = Buffer.from(text);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(await verifyBundle(pieces(Buffer.from("other"), 5), flipped, pinned)).toMatchObject({
        ok: false,
      });
    }
  });
});

test("a file of 64 MB is verified in little memory", async () => {
  const block = Buffer.alloc(1 << 20, 7);
  async function* large() {
    for (let i = 0; i < 64; i++) yield block;
  }
  const signer = createSign("sha256");
  const hash = createHash("sha256");
  for await (const chunk of large()) {
    signer.update(chunk);
    hash.update(chunk);
  }
  const bundle = message({
    messageDigest: { algorithm: "SHA2_256", digest: hash.digest("base64") },
    signature: signer.sign(key, "base64"),
  });
  const before = process.memoryUsage().rss;
  expect(await verifyBundle(large(), json(bundle), pinned)).toMatchObject({ ok: true });
  expect(process.memoryUsage().rss - before).toBeLessThan(32 << 20);
});
