// Goal: a job runs only if this Control Plane signed it for this agent, now, once, and of a kind it may run; every other
// envelope ends in its own code, and in the right class: unidentified (no receipt) or refused (with one).
// Method: one good job signed for real, then a table of everything that can be wrong with one.

import { beforeAll, describe, expect, test } from "bun:test";
import type { JobClaims } from "../../../src/protocol/job.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { TYP } from "../../../src/protocol/trust.ts";
import { type JobContext, type Verification, verifyJob } from "../../../src/trust/job.ts";
import { admit, EMPTY_WINDOW } from "../../../src/trust/replay-window.ts";
import { signJws } from "../../../src/trust/sign-jws.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { makeWorld, NOW_S, trustOf, type World } from "./signing-world.ts";

let world: World;
let context: JobContext;

beforeAll(async () => {
  world = await makeWorld();
  context = {
    trust: world.trust,
    license: world.license,
    window: EMPTY_WINDOW,
    acceptedBefore: () => false,
    nowS: NOW_S,
  };
});

const sign = (claims: object) => signJws(TYP.job, world.keys.job, claims);
const verify = async (changes: object, over: Partial<JobContext> = {}) =>
  await verifyJob(await sign({ ...world.job, ...changes }), { ...context, ...over });

/** Verdict and code of a verification in one word each. */
function told(verification: Verification): string {
  return "why" in verification ? `${verification.verdict} ${verification.why.code}` : verification.verdict;
}

test("a good job is verified, with its claims, its digest and the window that holds it", async () => {
  const envelope = await sign(world.job);
  const verification = await verifyJob(envelope, context);
  if (verification.verdict !== "verified") throw new Error(told(verification));
  expect(verification.job.claims).toEqual(world.job);
  expect(verification.job.envelopeSha256).toBe(sha256Of(envelope));
  expect(verification.window.highest).toBe(1);
  expect(context.window).toEqual(EMPTY_WINDOW);
  const again = await verifyJob(envelope, { ...context, window: verification.window });
  expect(told(again)).toBe("unidentified JOB_REPLAYED");
});

describe("claims", () => {
  const day = 86_400;
  const table: readonly (readonly [string, Partial<JobClaims> | object, string])[] = [
    ["another issuer", { iss: `cp_${"x".repeat(20)}` }, "unidentified JOB_WRONG_ISSUER"],
    ["another agent", { aud: `agt_${"x".repeat(20)}` }, "unidentified JOB_WRONG_AGENT"],
    ["another license", { lic: `lic_${"x".repeat(20)}` }, "unidentified JOB_WRONG_LICENSE"],
    ["an older epoch", { epoch: 2 }, "unidentified JOB_WRONG_EPOCH"],
    ["a life of a second too long", { exp: NOW_S + LIMITS.JOB_LIFETIME_S + 1 }, "unidentified JOB_LIFETIME"],
    ["a life of ten years", { exp: NOW_S + 3650 * day }, "unidentified JOB_LIFETIME"],
    ["an end before its beginning", { nbf: NOW_S + 10, exp: NOW_S + 10 }, "unidentified JOB_LIFETIME"],
    ["a beginning long before its signature", { nbf: NOW_S - 61 }, "unidentified JOB_LIFETIME"],
    ["a kind nobody knows", { kind: "coffee.brew" }, "refused JOB_KIND_UNKNOWN"],
    ["a kind that is a name of Object.prototype", { kind: "constructor.name" }, "refused JOB_KIND_UNKNOWN"],
    ["a kind of a later version", { kind: "code.implement" }, "refused JOB_KIND_UNKNOWN"],
    ["a payload of another kind", { payload: { url: "http://x" } }, "refused JOB_SCHEMA"],
    ["a payload with a member too many", { payload: { ...job().payload, extra: 1 } }, "refused JOB_SCHEMA"],
    ["no command to run", { payload: { source: { type: "empty" }, run: [] } }, "refused JOB_SCHEMA"],
    ["a kind that is no kind", { kind: "Test Run" }, "unidentified JWS_WRONG_CLAIMS"],
    ["a member too many", { admin: true }, "unidentified JWS_WRONG_CLAIMS"],
    ["a version to come", { v: 2 }, "unidentified JWS_WRONG_CLAIMS"],
    ["no sub", { sub: undefined }, "unidentified JWS_WRONG_CLAIMS"],
    ["seq 0", { seq: 0 }, "unidentified JWS_WRONG_CLAIMS"],
    ["a fractional seq", { seq: 1.5 }, "unidentified JWS_WRONG_CLAIMS"],
    ["a negative expiry", { exp: -1 }, "unidentified JWS_WRONG_CLAIMS"],
    [
      "times in milliseconds",
      { iat: NOW_S * 1000, nbf: NOW_S * 1000, exp: NOW_S * 1000 + 1 },
      "unidentified JWS_WRONG_CLAIMS",
    ],
    ["an empty jti", { jti: "" }, "unidentified JWS_WRONG_CLAIMS"],
    ["a jti that climbs", { jti: "job_../../../../etc/pas" }, "unidentified JWS_WRONG_CLAIMS"],
    ["no scope", { scope: undefined }, "unidentified JWS_WRONG_CLAIMS"],
    ["unlimited time", { limits: { ...job().limits, timeout_s: 1e9 } }, "unidentified JWS_WRONG_CLAIMS"],
  ];
  test.each(table)("with %s", async (_, changes, expected) => {
    expect(told(await verify(changes))).toBe(expected);
  });

  test("of a kind the license does not include are refused", async () => {
    const license = { ...world.license, kinds: ["plan.draft"] };
    expect(told(await verify({}, { license }))).toBe("refused JOB_KIND_UNLICENSED");
  });
});

describe("time", () => {
  const T = LIMITS.CLOCK_TOLERANCE_S;
  test.each([
    ["as early as clocks may differ", NOW_S - T, "verified"],
    ["a second earlier", NOW_S - T - 1, "unidentified JOB_NOT_YET_VALID"],
    ["at the last second", NOW_S + 600 + T - 1, "verified"],
    ["a second later", NOW_S + 600 + T, "unidentified JOB_EXPIRED"],
    ["days later", NOW_S + 86_000, "unidentified JOB_EXPIRED"],
  ])("%s", async (_, nowS, expected) => {
    expect(told(await verify({}, { nowS }))).toBe(expected);
  });
});

describe("replay", () => {
  test("of an offer number is refused; an accepted attempt offered anew is known, and takes no number", async () => {
    const seen = admit(EMPTY_WINDOW, 1);
    if (!seen.ok) throw new Error("refused");
    expect(told(await verify({}, { window: seen.window }))).toBe("unidentified JOB_REPLAYED");
    expect(told(await verify({ seq: 2 }, { window: seen.window }))).toBe("verified");
    const acceptedBefore = (jti: string, attempt: number) => jti === world.job.jti && attempt === 1;
    const known = await verify({ seq: 2 }, { acceptedBefore });
    expect(told(known)).toBe("known");
    expect(known).not.toHaveProperty("window");
    expect(told(await verify({ seq: 2, aud: `agt_${"x".repeat(20)}` }, { acceptedBefore }))).toBe(
      "unidentified JOB_WRONG_AGENT",
    );
    expect(told(await verify({ seq: 2, attempt: 2 }, { acceptedBefore }))).toBe("verified");
  });

  test("of an offer older than the window is refused", async () => {
    const window = { highest: 5000, bits: new Uint8Array(LIMITS.REPLAY_WINDOW / 8) };
    expect(told(await verify({ seq: 5000 - LIMITS.REPLAY_WINDOW }, { window }))).toBe(
      "unidentified JOB_REPLAYED",
    );
    expect(told(await verify({ seq: 5001 - LIMITS.REPLAY_WINDOW }, { window }))).toBe("verified");
  });

  test("cannot be provoked: what is not this agent's takes no number from the window", async () => {
    const foreign = await verify({ aud: `agt_${"x".repeat(20)}` });
    expect(foreign).not.toHaveProperty("window");
  });

  test("of a refused job is a replay: a refusal takes its number", async () => {
    const refused = await verify({ kind: "coffee.brew" });
    if (refused.verdict !== "refused") throw new Error(told(refused));
    expect(refused.claims.kind).toBe("coffee.brew");
    expect(told(await verify({}, { window: refused.window }))).toBe("unidentified JOB_REPLAYED");
  });
});

describe("keys", () => {
  test("of another use do not sign jobs, whatever they are called", async () => {
    for (const use of ["order", "license"] as const) {
      const envelope = await signJws(TYP.job, world.keys[use], world.job);
      expect(told(await verifyJob(envelope, context))).toBe("unidentified JWS_UNKNOWN_KEY");
    }
    const byRoot = await signJws(TYP.job, world.root, world.job);
    expect(told(await verifyJob(byRoot, context))).toBe("unidentified JWS_UNKNOWN_KEY");
    const byAgent = await signJws(TYP.job, world.agent, world.job);
    expect(told(await verifyJob(byAgent, context))).toBe("unidentified JWS_UNKNOWN_KEY");
  });

  test.each([
    ["outside its window, before", { nbf: NOW_S + 3600 }],
    ["outside its window, after", { exp: NOW_S - 3600 }],
    ["revoked", { revoked_at: NOW_S - 1 }],
  ])("%s sign nothing", async (_, change) => {
    const keys = world.trustClaims.keys.map((row) => (row.use === "job" ? { ...row, ...change } : row));
    const trust = await trustOf(world.root, { ...world.trustClaims, keys });
    expect(told(await verify({}, { trust }))).toBe("unidentified JWS_UNKNOWN_KEY");
  });

  test("sign one class of text each: a reply of the same key is no job", async () => {
    const envelope = await signJws(TYP.reply, world.keys.job, world.job);
    expect(told(await verifyJob(envelope, context))).toBe("unidentified JWS_WRONG_TYPE");
  });
});

describe("envelopes", () => {
  test.each<[string, unknown, string]>([
    ["nothing", undefined, "JWS_MALFORMED"],
    ["an object", { payload: "x" }, "JWS_MALFORMED"],
    ["HTML", "<html>", "JWS_MALFORMED"],
    ["two megabytes", "A".repeat(2_000_000), "JWS_OVERSIZED"],
  ])("that are %s are unidentified", async (_, envelope, code) => {
    expect(told(await verifyJob(envelope, context))).toBe(`unidentified ${code}`);
  });

  test("of the largest size are verified, wrong ones are refused, both well within a test's time", async () => {
    const run = ["true", ...Array.from({ length: 6 }, () => "x".repeat(110_000))];
    const envelope = await sign({ ...world.job, payload: { ...job().payload, run } });
    expect(envelope.length).toBeGreaterThan(800_000);
    expect(told(await verifyJob(envelope, context))).toBe("verified");
    const quotes = Buffer.from('"\\'.repeat(380_000)).toString("base64url");
    expect(told(await verifyJob(`${quotes}.e30.${"A".repeat(86)}`, context))).toBe(
      "unidentified JWS_MALFORMED",
    );
  });
});

function job(): JobClaims {
  return {
    payload: { source: { type: "empty" }, run: ["true"] },
    limits: {
      timeout_s: 1,
      memory_bytes: 16_777_216,
      pids: 1,
      output_bytes: 1024,
      workspace_bytes: 1_048_576,
    },
  } as unknown as JobClaims;
}
