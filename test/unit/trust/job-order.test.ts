// Goal: a job's checks come in one order, cheapest and surest first, and each has a code of its own: what is wrong in two
// ways is told by the earlier one, so nothing later was even looked at.
// Method: for each check an envelope or surroundings that fail it alone; then every two of them together.

import { beforeAll, describe, expect, test } from "bun:test";
import { type IntakeContext, judgeOffers } from "../../../src/agent/intake.ts";
import { fault } from "../../../src/fault/fault.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { TYP } from "../../../src/protocol/trust.ts";
import { admit, EMPTY_WINDOW } from "../../../src/trust/replay-window.ts";
import { makeWorld, NOW_S, signRaw, type World } from "./signing-world.ts";

let world: World;
beforeAll(async () => {
  world = await makeWorld();
});

/** An envelope in the making, and where it is shown. */
interface Draft {
  claims: Record<string, unknown>;
  typ: string;
  kid: string;
  /** What happens to the text once it is signed. */
  readonly text: ((text: string) => string)[];
  readonly surroundings: Partial<IntakeContext>;
}

interface Check {
  readonly name: string;
  /** What the check says; for lifecycle nothing at all, for capacity the hand-back. */
  readonly answer: string;
  readonly fail: (draft: Draft) => void;
}

const set = (claims: object) => (draft: Draft) => {
  draft.claims = { ...draft.claims, ...claims };
};
const surround = (surroundings: Partial<IntakeContext>) => (draft: Draft) => {
  Object.assign(draft.surroundings, surroundings);
};
const spanning =
  (change: (times: { iat: number; nbf: number; exp: number }) => object) =>
  ({ claims }: Draft): void => {
    Object.assign(claims, change(claims as never));
  };
const foreign = (prefix: string) => `${prefix}_${"x".repeat(20)}`;

/** One letter of the signature changed, not its last, which carries spare bits. */
function otherSignature(text: string): string {
  const at = text.lastIndexOf(".") + 9;
  return text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);
}

/** In their order. */
const CHECKS: readonly Check[] = [
  { name: "lifecycle", answer: "nothing", fail: surround({ accepting: false }) },
  {
    name: "size",
    answer: "reject JWS_OVERSIZED",
    fail: ({ text }) => text.push((made) => made.padEnd(LIMITS.JWS_BYTES + 1, "A")),
  },
  {
    name: "strict syntax",
    answer: "reject JWS_MALFORMED",
    fail: ({ text }) => text.push((made) => `${made}=`),
  },
  {
    name: "key",
    answer: "reject JWS_UNKNOWN_KEY",
    fail: (draft) => {
      draft.kid = world.keys.order.kid;
    },
  },
  {
    name: "signature",
    answer: "reject JWS_BAD_SIGNATURE",
    fail: ({ text }) => text.push(otherSignature),
  },
  {
    name: "type",
    answer: "reject JWS_WRONG_TYPE",
    fail: (draft) => {
      draft.typ = TYP.order;
    },
  },
  { name: "schema", answer: "reject JWS_WRONG_CLAIMS", fail: set({ sudo: true }) },
  { name: "issuer", answer: "reject JOB_WRONG_ISSUER", fail: set({ iss: foreign("cp") }) },
  { name: "agent", answer: "reject JOB_WRONG_AGENT", fail: set({ aud: foreign("agt") }) },
  { name: "license", answer: "reject JOB_WRONG_LICENSE", fail: set({ lic: foreign("lic") }) },
  { name: "epoch", answer: "reject JOB_WRONG_EPOCH", fail: set({ epoch: 9 }) },
  { name: "lifetime", answer: "reject JOB_LIFETIME", fail: spanning((times) => ({ iat: times.exp - 2000 })) },
  {
    name: "time",
    answer: "reject JOB_EXPIRED",
    fail: spanning(({ iat, nbf, exp }) => ({ iat: iat - 700, nbf: nbf - 700, exp: exp - 700 })),
  },
  {
    name: "replay",
    answer: "reject JOB_REPLAYED",
    fail: (draft) => {
      const seen = admit(EMPTY_WINDOW, 1);
      if (seen.ok) surround({ window: seen.window })(draft);
    },
  },
  { name: "kind", answer: "refuse JOB_KIND_UNKNOWN", fail: set({ kind: "no.such" }) },
  {
    name: "licensed kind",
    answer: "refuse JOB_KIND_UNLICENSED",
    fail: (draft) => surround({ license: { ...world.license, kinds: ["plan.draft"] } })(draft),
  },
  { name: "payload", answer: "refuse JOB_SCHEMA", fail: set({ payload: { run: [] } }) },
  {
    name: "policy and host",
    answer: "refuse POLICY_MISSING",
    fail: surround({ decide: () => ({ ok: false, why: fault("POLICY_MISSING", { path: "/p" }) }) }),
  },
  { name: "capacity", answer: "return", fail: surround({ free: 0 }) },
];

/** What becomes of an envelope in which all of these are wrong. */
async function answerTo(...wrong: readonly Check[]): Promise<string> {
  const draft: Draft = {
    claims: { ...world.job },
    typ: TYP.job,
    kid: world.keys.job.kid,
    text: [],
    surroundings: {},
  };
  for (const check of wrong) check.fail(draft);
  const header = JSON.stringify({ alg: "EdDSA", kid: draft.kid, typ: draft.typ });
  const signed = await signRaw(world.keys.job, header, JSON.stringify(draft.claims));
  const envelope = draft.text.reduce((text, change) => change(text), signed);
  const { judgements } = await judgeOffers([envelope], {
    accepting: true,
    trust: world.trust,
    license: world.license,
    window: EMPTY_WINDOW,
    nowS: NOW_S,
    free: 1,
    acceptedBefore: () => false,
    decide: ({ scope, limits }) => ({ ok: true, grant: { scope, limits, limits_enforced: "weak" } }),
    ...draft.surroundings,
  });
  const [judgement] = judgements;
  if (judgement === undefined) return "nothing";
  return "why" in judgement ? `${judgement.verdict} ${judgement.why.code}` : judgement.verdict;
}

test("nothing wrong, it is accepted", async () => {
  expect(await answerTo()).toBe("accept");
});

test("each check has an answer of its own", () => {
  const answers = CHECKS.map(({ answer }) => answer);
  expect(new Set(answers).size).toBe(answers.length);
});

describe.each(CHECKS.map((check, index) => [check.name, check, index] as const))("%s", (_, check, index) => {
  test("wrong alone, is told", async () => {
    expect(await answerTo(check)).toBe(check.answer);
  });

  const later = CHECKS.slice(index + 1);
  test.each(later.map((other) => [other.name, other] as const))("comes before %s", async (__, other) => {
    expect(await answerTo(check, other)).toBe(check.answer);
  });
});

test("of everything wrong at once, the first is told", async () => {
  for (let first = 0; first < CHECKS.length; first++) {
    expect(await answerTo(...CHECKS.slice(first))).toBe(CHECKS[first]?.answer ?? "");
  }
});
