// Goal: keys come back from disk as they went, proofs and receipts hold together, and sealed boxes open for one key only.
// Method: make, write, read, use; then the same with what is broken or somebody else's.

import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { calculateJwkThumbprint, compactVerify, decodeProtectedHeader, importJWK } from "jose";
import {
  makeSealingKey,
  makeSigningKey,
  readSealingKey,
  readSigningKey,
  tokenThumbprint,
} from "../../../src/trust/keys.ts";
import { makeProof, newNonce } from "../../../src/trust/proof.ts";
import { seal, unseal } from "../../../src/trust/sealed-box.ts";
import { NOW_S } from "./signing-world.ts";

describe("keys", () => {
  test("are the same after a way over disk, and named by RFC 7638", async () => {
    const { key, pem } = await makeSigningKey();
    expect(pem).toStartWith("-----BEGIN PRIVATE KEY-----");
    const read = await readSigningKey(pem, "identity.pem");
    expect(read.jwk).toEqual(key.jwk);
    expect(read.kid).toBe(await calculateJwkThumbprint(key.jwk));
    const sealing = await makeSealingKey();
    expect((await readSealingKey(sealing.pem, "sealing.pem")).kid).toBe(sealing.key.kid);
    expect(await tokenThumbprint(key.jwk)).toMatch(/^[0-9A-Za-z]{43}$/);
  });

  test.each(["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])(
    "that are none (%p) name their file",
    async (pem) => {
      await expect(readSigningKey(pem, "/state/identity.pem")).rejects.toMatchObject({
        code: "KEYPAIR_INVALID",
        params: { path: "/state/identity.pem" },
      });
    },
  );

  test("of the other kind are refused", async () => {
    const sealing = await makeSealingKey();
    await expect(readSigningKey(sealing.pem, "x")).rejects.toMatchObject({ code: "KEYPAIR_INVALID" });
    const signing = await makeSigningKey();
    await expect(readSealingKey(signing.pem, "x")).rejects.toMatchObject({ code: "KEYPAIR_INVALID" });
  });
});

test("a proof of possession carries what RFC 9449 asks for, and the digest of the body", async () => {
  const { key } = await makeSigningKey();
  const input = {
    method: "POST",
    url: "https://x/v1/heartbeat",
    jti: newNonce((n) => new Uint8Array(n)),
    nowS: NOW_S,
  };
  const body = new TextEncoder().encode("{}");
  const proof = await makeProof(key, { ...input, body, accessToken: "token", nonce: "n" });
  expect(decodeProtectedHeader(proof)).toEqual({ alg: "EdDSA", jwk: key.jwk, typ: "dpop+jwt" });
  const { payload } = await compactVerify(proof, await importJWK(key.jwk, "EdDSA"));
  const sha = (text: string) => createHash("sha256").update(text).digest("base64url");
  expect(JSON.parse(new TextDecoder().decode(payload))).toEqual({
    htm: "POST",
    htu: "https://x/v1/heartbeat",
    jti: "A".repeat(22),
    iat: NOW_S,
    bsha: sha("{}"),
    ath: sha("token"),
    nonce: "n",
  });
});

describe("a sealed box", () => {
  test("opens for its key alone, and only unchanged", async () => {
    const { key } = await makeSealingKey();
    const other = (await makeSealingKey()).key;
    const box = await seal(new TextEncoder().encode("secret"), key);
    expect(box).not.toContain(Buffer.from("secret").toString("base64url"));
    expect(new TextDecoder().decode(await unseal(box, key))).toBe("secret");
    await expect(unseal(box, other)).rejects.toThrow();
    for (const at of [2, box.length >> 1, box.length - 3]) {
      const spoilt = box.slice(0, at) + (box[at] === "A" ? "B" : "A") + box.slice(at + 1);
      await expect(unseal(spoilt, key)).rejects.toThrow();
    }
  });

  test("of another algorithm stays shut", async () => {
    const { key } = await makeSealingKey();
    const header = Buffer.from(JSON.stringify({ alg: "dir", enc: "A256GCM" })).toString("base64url");
    await expect(unseal(`${header}..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA`, key)).rejects.toThrow();
  });
});

test("a nonce can be named on a command line whatever it is made of", () => {
  const all = Array.from({ length: 256 }, (_, first) => newNonce(() => new Uint8Array(16).fill(first)));
  expect(all.filter((nonce) => !/^[A-Za-z0-9_][A-Za-z0-9_-]{21}$/.test(nonce))).toEqual([]);
});
