// Goal: both job tables are total: whatever happens in whatever state, there is a row for it or a defined nothing; and no
// course of events makes a job run twice, end twice, lose its holder or go on for ever.
// Method: random courses of events of every type there is, each step held against what must always be true.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { IN_FLIGHT, JOB_EVENTS, JOB_STATES, type JobState, transition } from "../../src/agent/job-table.ts";
import { type JobEvent, jobAfter } from "../../src/control-plane/queue/job-table.ts";
import { SETTINGS } from "../../src/control-plane/settings.ts";
import type { JobRow } from "../../src/control-plane/store/schema.ts";
import { JOB_STATES as SERVER_STATES } from "../../src/protocol/api.ts";
import { OutcomeSchema, REASONS } from "../../src/protocol/outcome.ts";
import { AGENT, ENVELOPE, jobRow } from "../unit/control-plane/support/job-row.ts";

const nowMs = fc.integer({ min: 1, max: 1_000_000 });
const agentId = fc.constantFrom(AGENT, AGENT.replace(/0$/, "1") as typeof AGENT);

/** One arbitrary for each type of event: a new type does not compile without one. */
const EVENTS: { readonly [T in JobEvent["type"]]: fc.Arbitrary<Extract<JobEvent, { readonly type: T }>> } = {
  offered: fc.record({
    type: fc.constant("offered" as const),
    agentId,
    envelope: fc.constant(ENVELOPE),
    nowMs,
  }),
  named: fc.record({
    type: fc.constant("named" as const),
    running: fc.boolean(),
    step: fc.constantFrom(null, "run"),
    startedAt: fc.constantFrom(null, 5),
    leaseUntil: nowMs,
  }),
  logged: fc.record({ type: fc.constant("logged" as const), nowMs }),
  returned: fc.record({ type: fc.constant("returned" as const), nowMs }),
  rejected: fc.record({ type: fc.constant("rejected" as const), code: fc.constant("JOB_REPLAYED"), nowMs }),
  withdrawn: fc.record({ type: fc.constant("withdrawn" as const), nowMs }),
  lease_expired: fc.record({ type: fc.constant("lease_expired" as const), nowMs }),
  unprovided: fc.record({
    type: fc.constant("unprovided" as const),
    code: fc.constant("SECRET_MISSING"),
    nowMs,
  }),
  cancel: fc.record({ type: fc.constant("cancel" as const), why: fc.constant("asked for"), nowMs }),
  receipt: fc.record({
    type: fc.constant("receipt" as const),
    outcome: fc.constantFrom(...OutcomeSchema.options),
    reason: fc.constantFrom<string>(...REASONS, "SCOPE_ENV_DENIED"),
    sha256: fc.constant(ENVELOPE),
    startedAt: fc.constantFrom(null, 5),
    nowMs,
  }),
};
const anyEvent = fc.oneof(...Object.values(EVENTS)) as fc.Arbitrary<JobEvent>;
const course = fc.array(anyEvent, { maxLength: 60 });
const begun = fc.record({
  on_lost: fc.constantFrom("fail", "requeue"),
  attempt: fc.integer({ min: 1, max: SETTINGS.ATTEMPTS }),
  rejections: fc.integer({ min: 0, max: SETTINGS.REJECTIONS - 1 }),
});

const HELD: readonly string[] = ["offered", "leased", "running", "overdue", "cancelling"];

/** What one step of a job on the server may be, and nothing else. */
function checkStep(before: JobRow, event: JobEvent, after: JobRow): void {
  if (before.state === "finished") expect(after).toEqual(before);
  if (after.state === "queued") expect(after.agent_id).toBeNull();
  if (HELD.includes(after.state)) expect(after.agent_id).not.toBeNull();
  expect(after.outcome === null).toBe(after.state !== "finished");
  expect(after.finished_at === null).toBe(after.state !== "finished");
  // Fenced: an attempt number only grows, by one, when the job goes back to the queue, and so often.
  expect(after.attempt - before.attempt === 1 ? after.state : "same").toBe(
    after.attempt === before.attempt ? "same" : "queued",
  );
  expect(after.attempt).toBeLessThanOrEqual(SETTINGS.ATTEMPTS);
  // A holder changes only by an offer, and only of what nobody has taken.
  if (after.agent_id !== null && after.agent_id !== before.agent_id) {
    expect([event.type, before.state === "queued" || before.state === "offered"]).toEqual(["offered", true]);
  }
  // What may be running is never given out again as the same attempt.
  if (before.state === "running" || before.state === "overdue") {
    if (after.state === "queued") expect(after.attempt).toBe(before.attempt + 1);
    expect(after.state).not.toBe("offered");
  }
}

describe("the server's table", () => {
  test("holds in every course of events", () => {
    fc.assert(
      fc.property(begun, course, (changes, events) => {
        let job = jobRow({ ...changes, on_lost: changes.on_lost as JobRow["on_lost"] });
        for (const event of events) {
          const change = jobAfter(job, event);
          const after = { ...job, ...change };
          checkStep(job, event, after);
          job = after;
        }
      }),
      { numRuns: 1500 },
    );
  });

  const pairs = SERVER_STATES.flatMap((state) =>
    Object.entries(EVENTS).map(([type, arbitrary]) => [state, type, arbitrary] as const),
  );
  test.each(pairs)("%s: %s is answered, and holds", (state, _, arbitrary) => {
    fc.assert(
      fc.property(begun, arbitrary as fc.Arbitrary<JobEvent>, fc.boolean(), (changes, event, leased) => {
        const free = state === "queued";
        const before = jobRow({
          ...changes,
          state,
          on_lost: changes.on_lost as JobRow["on_lost"],
          agent_id: free ? null : AGENT,
          envelope_sha256: free ? null : ENVELOPE,
          lease_until: leased && !free && state !== "offered" ? 7 : null,
          ...(state === "finished" ? { outcome: "failed", reason: "exit_nonzero", finished_at: 3 } : {}),
        });
        checkStep(before, event, { ...before, ...jobAfter(before, event) });
      }),
      { numRuns: 60 },
    );
  });

  test("ends every job that is offered again and again and always comes to nothing", () => {
    const failing = fc.constantFrom("rejected", "receipt", "lease_expired");
    fc.assert(
      fc.property(fc.array(failing, { minLength: 20, maxLength: 40 }), (fates) => {
        let job = jobRow({ on_lost: "requeue" });
        const happen = (event: JobEvent) => {
          job = { ...job, ...jobAfter(job, event) };
        };
        for (const fate of fates) {
          happen({ type: "offered", agentId: AGENT, envelope: ENVELOPE, nowMs: 1 });
          if (fate === "rejected") {
            happen({ type: "rejected", code: "JOB_REPLAYED", nowMs: 1 });
            continue;
          }
          happen({ type: "named", running: true, step: null, startedAt: 1, leaseUntil: 2 });
          if (fate === "lease_expired") happen({ type: "lease_expired", nowMs: 3 });
          const lost = {
            outcome: "lease_lost",
            reason: "lease_expired",
            sha256: ENVELOPE,
            startedAt: 1,
          } as const;
          if (fate === "receipt") happen({ type: "receipt", ...lost, nowMs: 3 });
        }
        expect(["finished", "overdue"]).toContain(job.state);
      }),
      { numRuns: 300 },
    );
  });
});

describe("the agent's table", () => {
  test("answers every pair with a state of its own or with nothing, and every course ends", () => {
    const events = fc.array(fc.constantFrom(...JOB_EVENTS), { maxLength: 40 });
    fc.assert(
      fc.property(fc.constantFrom(...JOB_STATES), events, (first, happened) => {
        let state: JobState = first;
        for (const event of happened) {
          const next = transition(state, event);
          if (next === null) continue;
          expect(JOB_STATES).toContain(next);
          // Nothing comes back from its end, and nothing runs that was not leased.
          if (!IN_FLIGHT.includes(state)) expect(IN_FLIGHT).not.toContain(next);
          if (next === "running" && state !== "running") expect(state).toBe("leased");
          state = next;
        }
      }),
      { numRuns: 1000 },
    );
    const answers = JOB_STATES.flatMap((state) => JOB_EVENTS.map((event) => transition(state, event)));
    expect(answers.filter((answer) => answer !== null && !JOB_STATES.includes(answer))).toEqual([]);
  });

  test("has a way to its end from wherever an attempt takes a place", () => {
    for (const state of IN_FLIGHT) expect(transition(state, "abandon")).toBe("finished");
    expect(transition("finished", "acknowledge")).toBe("delivered");
  });
});
