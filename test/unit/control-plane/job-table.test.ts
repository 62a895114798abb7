// Goal: a job's course on the server is the table's and nothing else: never given out twice, never ended twice.
// Method: the transitions that matter, one by one, and every state against every event for what must hold always.

import { describe, expect, test } from "bun:test";
import { type JobEvent, jobAfter } from "../../../src/control-plane/queue/job-table.ts";
import type { JobRow } from "../../../src/control-plane/store/schema.ts";
import { JOB_STATES } from "../../../src/protocol/api.ts";
import { AGENT, ENVELOPE, jobRow } from "./support/job-row.ts";

const EVENTS: Readonly<Record<JobEvent["type"], JobEvent>> = {
  offered: { type: "offered", agentId: AGENT, envelope: ENVELOPE, nowMs: 10 },
  named: { type: "named", running: false, step: null, startedAt: null, leaseUntil: 310 },
  logged: { type: "logged", nowMs: 10 },
  returned: { type: "returned", nowMs: 10 },
  rejected: { type: "rejected", code: "JOB_SCHEMA", nowMs: 10 },
  withdrawn: { type: "withdrawn", nowMs: 10 },
  lease_expired: { type: "lease_expired", nowMs: 10 },
  unprovided: { type: "unprovided", code: "SECRET_MISSING", nowMs: 10 },
  cancel: { type: "cancel", why: "not needed", nowMs: 10 },
  receipt: {
    type: "receipt",
    outcome: "succeeded",
    reason: "exit_zero",
    sha256: ENVELOPE,
    startedAt: 5,
    nowMs: 10,
  },
};

const held = (state: JobRow["state"], changes: Partial<JobRow> = {}): JobRow =>
  jobRow({ state, agent_id: AGENT, envelope_sha256: ENVELOPE, offered_at: 1, lease_until: 5, ...changes });
const receipt = (outcome: string, reason: string): JobEvent =>
  ({ ...EVENTS.receipt, outcome, reason }) as JobEvent;

describe("a job", () => {
  test("that is being cancelled and never had a lease gets none", () => {
    expect(jobAfter(held("cancelling", { lease_until: null }), EVENTS.named)).toBeNull();
  });

  test.each([
    ["queued, offered", jobRow(), EVENTS.offered, { state: "offered", agent_id: AGENT, offered_at: 10 }],
    ["offered, offered again", held("offered"), EVENTS.offered, { state: "offered", offered_at: 10 }],
    ["offered, named", held("offered"), EVENTS.named, { state: "leased", lease_until: 310 }],
    ["offered, handed back", held("offered"), EVENTS.returned, { state: "queued", agent_id: null }],
    ["offered, unanswered", held("offered"), EVENTS.withdrawn, { state: "queued", agent_id: null }],
    ["leased, handed back", held("leased"), EVENTS.returned, { state: "queued", agent_id: null }],
    [
      "leased, running",
      held("leased"),
      { ...EVENTS.named, running: true, step: "run" } as JobEvent,
      { state: "running", step: "run" },
    ],
    ["leased, its log begins", held("leased"), EVENTS.logged, { state: "running", started_at: 10 }],
    ["running, named", held("running"), EVENTS.named, { state: "running", lease_until: 310 }],
    ["overdue, heard again", held("overdue"), EVENTS.named, { state: "leased", lease_until: 310 }],
    ["silent", held("running"), EVENTS.lease_expired, { state: "overdue" }],
    [
      "silent, to be tried again",
      held("running", { on_lost: "requeue", step: "run", started_at: 3 }),
      EVENTS.lease_expired,
      { state: "queued", attempt: 2, agent_id: null, step: null, started_at: null },
    ],
    [
      "silent for the last time",
      held("running", { on_lost: "requeue", attempt: 5 }),
      EVENTS.lease_expired,
      { state: "overdue" },
    ],
    ["done", held("running"), EVENTS.receipt, { state: "finished", outcome: "succeeded", started_at: 5 }],
    ["done late", held("overdue"), EVENTS.receipt, { state: "finished", outcome: "succeeded" }],
    ["refused", held("offered"), receipt("refused", "SCOPE_ENV_DENIED"), { state: "finished" }],
    ["interrupted", held("running"), receipt("interrupted", "agent_restarted"), { state: "finished" }],
    [
      "never started",
      held("leased"),
      receipt("interrupted", "never_started"),
      { state: "queued", attempt: 2 },
    ],
    ["lease lost", held("running"), receipt("lease_lost", "lease_expired"), { state: "finished" }],
    [
      "lease lost, to be tried again",
      held("running", { on_lost: "requeue" }),
      receipt("lease_lost", "lease_expired"),
      { state: "queued", attempt: 2 },
    ],
    ["rejected once", held("offered"), EVENTS.rejected, { state: "queued", rejections: 1 }],
    [
      "rejected for the third time",
      held("offered", { rejections: 2 }),
      EVENTS.rejected,
      { state: "finished", outcome: "refused", reason: "JOB_SCHEMA" },
    ],
    [
      "queued, a secret of it gone",
      jobRow(),
      EVENTS.unprovided,
      { state: "finished", outcome: "refused", reason: "SECRET_MISSING" },
    ],
    ["offered, a secret of it gone", held("offered"), EVENTS.unprovided, { state: "finished" }],
    [
      "queued, cancelled",
      jobRow(),
      EVENTS.cancel,
      { state: "finished", outcome: "cancelled", cancel_reason: "not needed" },
    ],
    ["offered, cancelled", held("offered"), EVENTS.cancel, { state: "cancelling" }],
    ["running, cancelled", held("running"), EVENTS.cancel, { state: "cancelling" }],
    [
      "overdue, cancelled: nobody is waited for any more",
      held("overdue"),
      EVENTS.cancel,
      { state: "finished", outcome: "cancelled" },
    ],
    [
      "being cancelled, named: the lease goes on until it has ended",
      held("cancelling"),
      EVENTS.named,
      { state: "cancelling", lease_until: 310 },
    ],
    [
      "being cancelled, silent: never given to another one",
      held("cancelling", { on_lost: "requeue" }),
      EVENTS.lease_expired,
      { state: "finished", outcome: "cancelled" },
    ],
    [
      "being cancelled, never taken",
      held("cancelling", { lease_until: null }),
      EVENTS.withdrawn,
      { state: "finished", outcome: "cancelled" },
    ],
    [
      "being cancelled, had finished first",
      held("cancelling"),
      EVENTS.receipt,
      { state: "finished", outcome: "succeeded" },
    ],
    [
      "being cancelled, never started",
      held("cancelling"),
      receipt("interrupted", "never_started"),
      { state: "finished", outcome: "cancelled", receipt_sha256: ENVELOPE },
    ],
    [
      "being cancelled, its lease lost",
      held("cancelling", { on_lost: "requeue" }),
      receipt("lease_lost", "lease_expired"),
      { state: "finished", outcome: "cancelled" },
    ],
  ] as const)("%s", (_, job, event, expected) => {
    expect(jobAfter(job, event)).toMatchObject(expected);
  });

  test.each(
    JOB_STATES.flatMap((state) => Object.values(EVENTS).map((event) => [state, event.type, event] as const)),
  )("%s: whatever %s does, it is held exactly when someone has it", (state, _, event) => {
    const before = state === "queued" ? jobRow() : held(state);
    const change = jobAfter(before, event);
    if (state === "finished") expect(change).toBeNull();
    const after = { ...before, ...change };
    if (after.state === "finished" && before.state === "queued")
      expect(["cancel", "unprovided"]).toContain(event.type);
    else expect(after.agent_id === null).toBe(after.state === "queued");
    expect(after.attempt).toBeGreaterThanOrEqual(before.attempt);
    if (after.state === "finished") expect(after.outcome !== null || state === "finished").toBeTrue();
  });
});
