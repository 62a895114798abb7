// Goal: what an agent has written down does not depend on where it was cut off: a crash at any write leaves the state before
// the step or after it, going on from there leads to the same end, and an answer taken twice is one taken once.
// Method: random histories of answers, starts, ends and restarts, with real signatures on a real journal; the same history
// again with a crash at a random write of a random step, and again with every answer taken twice.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { FIRST_PREV_SHA256 } from "../../src/protocol/receipt.ts";
import { openReceipt } from "../../src/trust/receipt.ts";
import {
  Crash,
  jobId,
  type Offer,
  OneJournal,
  type Signed,
  type Step,
  signSteps,
  world,
} from "./one-journal.ts";

const job = fc.nat(4);
const offer: fc.Arbitrary<Offer> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ type: fc.constant("job" as const), job, attempt: fc.constantFrom(1, 2) }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("unknown kind" as const), job }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("refused by policy" as const), job }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("again" as const), which: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("rubbish" as const), which: fc.nat(2) }) },
);
const order = fc.oneof(
  fc.record({ type: fc.constant("cancel" as const), jti: job.map(jobId) }),
  fc.constantFrom(
    { type: "drain" as const },
    { type: "resume" as const },
    { type: "stop" as const, grace_s: 5 },
    { type: "reseal" as const, ctr: 7 },
  ),
);
/** One that ends a drain comes first, or taking the answer twice would find the agent in another state than once. */
const orders = fc
  .array(order, { maxLength: 2 })
  .map((drawn) => drawn.toSorted((a, b) => Number(b.type === "resume") - Number(a.type === "resume")));
const answer = fc.record({
  type: fc.constant("answer" as const),
  offers: fc.array(offer, { maxLength: 4 }),
  leases: fc.nat(15),
  acks: fc.boolean(),
  orders: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: orders }),
  retellAfter: fc.oneof({ weight: 6, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.nat(3) }),
});
const other = fc.oneof(
  fc.constant({ type: "start" as const }),
  fc.record({ type: fc.constant("end" as const), failed: fc.boolean() }),
  fc.constant({ type: "restart" as const }),
  fc.constant({ type: "compact" as const }),
);
const history: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof({ weight: 3, arbitrary: answer }, { weight: 2, arbitrary: other }),
  { minLength: 1, maxLength: 12 },
);

/** The whole history, in one process. */
async function whole(steps: readonly Signed[]): Promise<unknown> {
  using journal = new OneJournal();
  for (const step of steps) await journal.take(step);
  await checkChain(journal);
  return journal.dump();
}

/** The receipts are one chain without a gap, and none is there twice. */
async function checkChain(journal: OneJournal): Promise<void> {
  let prev: string = FIRST_PREV_SHA256;
  const seen = new Set<string>();
  for (const [index, { seq, sha256, jws, jti, attempt }] of journal.receiptTexts().entries()) {
    const { claims } = await openReceipt(jws, world.agent.jwk);
    expect([claims.seq, claims.prev_sha256]).toEqual([index + 1, prev as never]);
    expect([seq, claims.jti, claims.attempt]).toEqual([claims.seq, jti as never, attempt]);
    expect(seen.has(`${jti}/${attempt}`)).toBe(false);
    seen.add(`${jti}/${attempt}`);
    prev = sha256;
  }
}

describe("a history", () => {
  test("cut off at any write of any step, and gone on with, ends as the one that was not", async () => {
    await fc.assert(
      fc.asyncProperty(history, fc.nat(), fc.nat(40), async (drawn, which, at) => {
        const steps = await signSteps(drawn);
        const expected = await whole(steps);
        using journal = new OneJournal();
        for (const [index, step] of steps.entries()) {
          if (index !== which % steps.length) {
            await journal.take(step);
            continue;
          }
          const before = journal.dump();
          try {
            await journal.take(step, at);
          } catch (error) {
            if (!(error instanceof Crash)) throw error;
            journal.reopen();
            expect(journal.dump()).toEqual(before); // one step, one transaction
            await journal.take(step);
          }
        }
        expect(journal.dump()).toEqual(expected);
      }),
      { numRuns: 120 },
    );
  }, 60_000);

  test("cut off at each write in turn, loses or doubles nothing", async () => {
    const steps = await signSteps(EVENTFUL);
    const expected = await whole(steps);
    for (let crashed = 0; crashed < steps.length; crashed++) {
      for (let at = 0; ; at++) {
        using journal = new OneJournal();
        for (const step of steps.slice(0, crashed)) await journal.take(step);
        const before = journal.dump();
        const step = steps[crashed];
        if (step === undefined) break;
        const over = await journal.take(step, at).then(
          () => true,
          (error: unknown) => !(error instanceof Crash),
        );
        journal.reopen();
        if (over) break;
        expect(journal.dump()).toEqual(before);
        for (const rest of steps.slice(crashed)) await journal.take(rest);
        expect(journal.dump()).toEqual(expected);
      }
    }
  }, 60_000);

  test("with every answer taken twice, is the same history", async () => {
    await fc.assert(
      fc.asyncProperty(history, async (drawn) => {
        const steps = await signSteps(drawn);
        // With room for all: an offer handed back is an offer used up, and its envelope shown again is a replay.
        using once = new OneJournal(99);
        using twice = new OneJournal(99);
        for (const step of steps) {
          await once.take(step);
          const request = twice.request();
          await twice.take(step, undefined, request);
          if (step.type === "answer") {
            twice.reopen();
            await twice.take(step, undefined, request);
          }
          expect(twice.dump()).toEqual(once.dump());
        }
      }),
      { numRuns: 120 },
    );
  }, 60_000);

  test("taken as far as any step, is the beginning of every longer one", async () => {
    await fc.assert(
      fc.asyncProperty(history, fc.nat(), async (drawn, cut) => {
        const steps = await signSteps(drawn);
        const short = steps.slice(0, cut % (steps.length + 1));
        using journal = new OneJournal();
        for (const step of short) await journal.take(step);
        expect(journal.dump()).toEqual(await whole(short));
        journal.reopen();
        for (const step of steps.slice(short.length)) await journal.take(step);
        expect(journal.dump()).toEqual(await whole(steps));
      }),
      { numRuns: 40 },
    );
  }, 60_000);
});

const plain = { leases: 15, acks: true, orders: [], retellAfter: null } as const;
const EVENTFUL: readonly Step[] = [
  {
    type: "answer",
    ...plain,
    offers: [
      { type: "job", job: 0, attempt: 1 },
      { type: "job", job: 1, attempt: 1 },
      { type: "job", job: 2, attempt: 1 },
      { type: "unknown kind", job: 3 },
      { type: "rubbish", which: 0 },
    ],
  },
  { type: "answer", ...plain, leases: 1, offers: [{ type: "refused by policy", job: 4 }] },
  { type: "start" },
  {
    type: "answer",
    ...plain,
    orders: [{ type: "cancel", jti: jobId(1) }],
    offers: [{ type: "again", which: 0 }],
  },
  { type: "end", failed: true },
  { type: "answer", ...plain, offers: [{ type: "job", job: 0, attempt: 2 }] },
  { type: "answer", ...plain, retellAfter: 1, offers: [] },
  { type: "restart" },
  { type: "answer", ...plain, offers: [] },
];
