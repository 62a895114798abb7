// Goal: a proof is good for one request of one key at one time, and nothing else.
// Method: real keys and proofs against the check, one thing changed at a time.

import { describe, expect, test } from "bun:test";
import { checkProof, type ProofTarget } from "../../../src/control-plane/auth/dpop.ts";
import { DpopNonces } from "../../../src/control-plane/auth/dpop-nonce.ts";
import { SeenProofs } from "../../../src/control-plane/auth/seen-proofs.ts";
import { isFault } from "../../../src/fault/fault.ts";
import { TYP } from "../../../src/protocol/trust.ts";
import { makeSigningKey } from "../../../src/trust/keys.ts";
import { makeProof, newNonce, type ProofInput } from "../../../src/trust/proof.ts";
import { signJws, signWithEmbeddedKey } from "../../../src/trust/sign-jws.ts";
import { random } from "./support/control-plane.ts";

const NOW_S = 1_800_000_000;
const { key } = await makeSigningKey();
const { key: other } = await makeSigningKey();
const nonces = new DpopNonces(random(32));
const body = new TextEncoder().encode("body");
const url = "https://control.example/v1/heartbeat";
const bearer = { token: "token", jkt: key.kid };

const input = (changes: Partial<ProofInput> = {}): ProofInput => ({
  method: "POST",
  url,
  body,
  accessToken: "token",
  nonce: nonces.current(NOW_S),
  jti: newNonce(random),
  nowS: NOW_S,
  ...changes,
});
const target = (changes: Partial<ProofTarget> = {}): ProofTarget => ({
  method: "POST",
  url,
  body,
  bearer,
  ...changes,
});

async function codeOf(
  proof: string | null,
  changes: Partial<ProofTarget> = {},
  seen = new SeenProofs(),
): Promise<string> {
  try {
    await checkProof(proof, target(changes), { nonces, seen, nowMs: NOW_S * 1000 });
    return "accepted";
  } catch (error) {
    return isFault(error) ? error.code : String(error);
  }
}

describe("a proof", () => {
  test("of the right key for this request is accepted, once", async () => {
    const seen = new SeenProofs();
    const proof = await makeProof(key, input());
    expect(await codeOf(proof, {}, seen)).toBe("accepted");
    expect(await codeOf(proof, {}, seen)).toBe("DPOP_INVALID");
  });

  test.each([
    ["of another key", () => makeProof(other, input()), "DPOP_INVALID"],
    ["for another method", () => makeProof(key, input({ method: "PUT" })), "DPOP_INVALID"],
    ["for another URL", () => makeProof(key, input({ url: `${url}/x` })), "DPOP_INVALID"],
    [
      "for another host",
      () => makeProof(key, input({ url: "https://evil.example/v1/heartbeat" })),
      "DPOP_INVALID",
    ],
    ["for another body", () => makeProof(key, input({ body: new Uint8Array([1]) })), "DPOP_INVALID"],
    ["for another token", () => makeProof(key, input({ accessToken: "other" })), "DPOP_INVALID"],
    ["a minute and a second old", () => makeProof(key, input({ nowS: NOW_S - 61 })), "WIRE_CLOCK_SKEW"],
    ["a minute and a second early", () => makeProof(key, input({ nowS: NOW_S + 61 })), "WIRE_CLOCK_SKEW"],
    ["a minute old", () => makeProof(key, input({ nowS: NOW_S - 60 })), "accepted"],
    [
      "with a nonce of the slot before",
      () => makeProof(key, input({ nonce: nonces.current(NOW_S - 300) })),
      "accepted",
    ],
    [
      "with an older nonce",
      () => makeProof(key, input({ nonce: nonces.current(NOW_S - 600) })),
      "USE_DPOP_NONCE",
    ],
    ["with a made-up nonce", () => makeProof(key, input({ nonce: "A".repeat(22) })), "USE_DPOP_NONCE"],
    ["with an empty jti", () => makeProof(key, input({ jti: "" })), "DPOP_INVALID"],
    ["that is not there", () => Promise.resolve(null), "DPOP_INVALID"],
    ["that is no JWS", () => Promise.resolve("a.b.c"), "DPOP_INVALID"],
    ["that names its key instead of embedding it", () => signJws(TYP.dpop, key, claims()), "DPOP_INVALID"],
    ["of another type", () => signWithEmbeddedKey(TYP.assertion, key, claims()), "DPOP_INVALID"],
    [
      "with a member too many",
      () => signWithEmbeddedKey(TYP.dpop, key, { ...claims(), x: 1 }),
      "DPOP_INVALID",
    ],
    ["whose signature was changed", async () => flipLast(await makeProof(key, input())), "DPOP_INVALID"],
  ] as const)("%s", async (_, make, expected) => {
    expect(await codeOf(await make())).toBe(expected);
  });

  test("without a nonce is asked for again with one", async () => {
    const { nonce: _, ...without } = input();
    expect(await codeOf(await makeProof(key, without))).toBe("USE_DPOP_NONCE");
  });

  test("without a token is good only where none belongs", async () => {
    const { accessToken: _, ...anonymous } = input();
    const proof = await makeProof(key, anonymous);
    expect(await codeOf(proof)).toBe("DPOP_INVALID");
    const { bearer: __, ...open } = target();
    const ctx = { nonces, seen: new SeenProofs(), nowMs: NOW_S * 1000 };
    expect((await checkProof(proof, open, ctx)).jkt).toBe(key.kid);
  });

  test("is forgotten only when it could not be accepted any more", () => {
    const seen = new SeenProofs();
    expect(seen.admit("p", 0)).toBeTrue();
    expect(seen.admit("p", 121_000)).toBeFalse();
    expect(seen.admit("p", 400_000)).toBeTrue();
  });
});

describe("a clock that is too far off", () => {
  const noted = async (changes: Partial<ProofInput>): Promise<string[]> => {
    const notes: string[] = [];
    const skewed = (jkt: string, seconds: number) => notes.push(`${jkt} ${seconds}`);
    const proof = await makeProof(key, input({ nowS: NOW_S - 3600, ...changes }));
    const ctx = { nonces, seen: new SeenProofs(), nowMs: NOW_S * 1000, skewed };
    await expect(checkProof(proof, target(), ctx)).rejects.toMatchObject({
      code: "WIRE_CLOCK_SKEW",
      params: { seconds: 3600 },
    });
    return notes;
  };

  test("is told as that, and noted when the proof is surely of this moment", async () => {
    expect(await noted({})).toEqual([`${key.kid} 3600`]);
  });

  test("is not noted of an old proof played back", async () => {
    expect(await noted({ nonce: nonces.current(NOW_S - 3600) })).toEqual([]);
    const { nonce: _, ...without } = input({ nowS: NOW_S - 3600 });
    const proof = await makeProof(key, without);
    const skewed = () => {
      throw new Error("noted");
    };
    const ctx = { nonces, seen: new SeenProofs(), nowMs: NOW_S * 1000, skewed };
    await expect(checkProof(proof, target(), ctx)).rejects.toMatchObject({ code: "WIRE_CLOCK_SKEW" });
  });
});

test("what is remembered of proofs is bounded: the oldest go first, and are left to the table", () => {
  const seen = new SeenProofs();
  for (let n = 0; n <= 100_000; n++) expect(seen.admit(`p${n}`, 0)).toBeTrue();
  expect(seen.admit("p1", 0)).toBeFalse();
  expect(seen.admit("p0", 0)).toBeTrue();
});

const claims = () => ({
  htm: "POST",
  htu: url,
  jti: newNonce(random),
  iat: NOW_S,
  bsha: "b".repeat(43),
});

function flipLast(text: string): string {
  return `${text.slice(0, -6)}${text.at(-6) === "A" ? "B" : "A"}${text.slice(-5)}`;
}
