// Goal: a seal says one thing to everybody, only the agent's key can make one, and what it allows while a change is under
// way is the state before, the state after, or a mixture of both, file by file.
// Method: real keys; every bit of a seal flipped; random claims and random findings against a naive reading.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import { newAgentId, type Sha256 } from "../../../src/protocol/ids.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { TYP } from "../../../src/protocol/trust.ts";
import {
  allowedDigests,
  type Changes,
  type Digests,
  openSeal,
  SEALED_NAMES,
  type SealClaims,
  SealClaimsSchema,
  sealRoot,
  settled,
  signSeal,
} from "../../../src/trust/seal.ts";
import { signJws } from "../../../src/trust/sign-jws.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { anySigningKey, random } from "../../support/authority.ts";
import { faultOf } from "../../support/fault-of.ts";

const key = await anySigningKey();
const agent = newAgentId(random);
const digest = fc.nat(3).map((n): Sha256 => sha256Of(String(n)));
const claims: fc.Arbitrary<SealClaims> = fc
  .record({
    files: fc.dictionary(fc.constantFrom(...SEALED_NAMES), digest) as fc.Arbitrary<Digests>,
    next: fc.dictionary(fc.constantFrom(...SEALED_NAMES), fc.option(digest)) as fc.Arbitrary<Changes>,
    ctr: fc.integer({ min: 1, max: 2 ** 40 }),
    open: fc.boolean(),
  })
  .map(({ files, next, ctr, open }) => ({
    v: 1,
    agent,
    ctr,
    trust_root: key.kid,
    files,
    ...(open ? { next } : {}),
  }));
const SAMPLE: SealClaims = {
  v: 1,
  agent,
  ctr: 3,
  trust_root: key.kid,
  files: { "license.jwt": sha256Of("a"), "agent.json": sha256Of("b") },
  next: { "quarantine.jws": sha256Of("c"), "agent.json": null },
};

describe("a seal", () => {
  test("comes back as it was signed, and fits its bound whatever it says", async () => {
    await fc.assert(
      fc.asyncProperty(claims, async (made) => {
        const text = await signSeal(key, made);
        expect(await openSeal(text, key.jwk)).toEqual(made);
        expect(text.length).toBeLessThan(LIMITS.SMALL_JWS_BYTES / 4);
      }),
      { numRuns: 50 },
    );
  });

  test("with any bit flipped is refused", async () => {
    const text = await signSeal(key, SAMPLE);
    for (let at = 0; at < text.length; at++) {
      const bytes = Buffer.from(text);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 7));
      expect((await faultOf(openSeal(bytes.toString("latin1"), key.jwk))).code).toStartWith("JWS_");
    }
  });

  test("by another key, of another type, or with other members is refused", async () => {
    const other = await anySigningKey();
    const code = async (text: string) => (await faultOf(openSeal(text, key.jwk))).code;
    expect(await code(await signSeal(other, SAMPLE))).toBe("JWS_UNKNOWN_KEY");
    expect(await code(await signSeal({ ...other, kid: key.kid }, SAMPLE))).toBe("JWS_BAD_SIGNATURE");
    expect(await code(await signJws(TYP.receipt, key, SAMPLE))).toBe("JWS_WRONG_TYPE");
    const wrong: object[] = [
      { ...SAMPLE, more: 1 },
      { ...SAMPLE, ctr: 0 },
      { ...SAMPLE, ctr: 1.5 },
      { ...SAMPLE, v: 2 },
      { ...SAMPLE, agent: "agt_" },
      { ...SAMPLE, trust_root: "short" },
      { ...SAMPLE, files: { "bearer.json": sha256Of("x") } },
      { ...SAMPLE, files: { "license.jwt": null } },
      { ...SAMPLE, files: { "license.jwt": sha256Of("x").toUpperCase() } },
      { ...SAMPLE, next: { "keypair/../seal.jws": null } },
    ];
    for (const [name, bad] of wrong.entries()) {
      expect([name, await code(await signJws(TYP.seal, key, bad))]).toEqual([name, "JWS_WRONG_CLAIMS"]);
    }
  });
});

describe("its root", () => {
  test("is the same however the claims were put together, and whether or not a change is under way", () => {
    const { files, next: _, ...rest } = SAMPLE;
    const reversed = Object.fromEntries(Object.entries(files).reverse()) as Digests;
    expect(sealRoot({ files: reversed, ...rest })).toBe(sealRoot(SAMPLE));
  });

  test("is another for other files, another number, another agent, another trust root", () => {
    const others: SealClaims[] = [
      { ...SAMPLE, ctr: 4 },
      { ...SAMPLE, agent: newAgentId(random) },
      { ...SAMPLE, trust_root: "A".repeat(43) },
      { ...SAMPLE, files: {} },
      { ...SAMPLE, files: { "license.jwt": sha256Of("b"), "agent.json": sha256Of("a") } },
    ];
    expect(new Set([SAMPLE, ...others].map(sealRoot)).size).toBe(6);
  });
});

describe("a change under way", () => {
  test("allows each file one of two sides, any other file one", () => {
    expect(allowedDigests(SAMPLE, "license.jwt")).toEqual([sha256Of("a")]);
    expect(new Set(allowedDigests(SAMPLE, "agent.json"))).toEqual(new Set([sha256Of("b"), null]));
    expect(new Set(allowedDigests(SAMPLE, "quarantine.jws"))).toEqual(new Set([sha256Of("c"), null]));
    expect(allowedDigests(SAMPLE, "terminal.jws")).toEqual([null]);
  });

  test("ends as it was found, and takes in nothing that is on neither side", () => {
    const found = fc.array(fc.option(fc.option(digest), { nil: undefined }), {
      minLength: SEALED_NAMES.length,
      maxLength: SEALED_NAMES.length,
    });
    fc.assert(
      fc.property(claims, found, (made, looks) => {
        const seen = (name: (typeof SEALED_NAMES)[number]) => looks[SEALED_NAMES.indexOf(name)];
        const ended = settled(made, seen);
        expect(v.is(SealClaimsSchema, ended)).toBe(true);
        expect([ended.ctr, ended.next]).toEqual([made.ctr, undefined]);
        for (const name of SEALED_NAMES) {
          const [only, ...rest] = allowedDigests(ended, name);
          expect(rest).toEqual([]);
          const sides = allowedDigests(made, name);
          expect(sides).toContain(only as Sha256 | null);
          const look = seen(name);
          if (look !== undefined && sides.includes(look)) expect(only).toBe(look);
          else expect(only).toBe(made.files[name] ?? null);
        }
      }),
    );
  });
});
