import type { JobState } from "../../protocol/api.ts";
import type { AgentId, Sha256 } from "../../protocol/ids.ts";
import type { Outcome } from "../../protocol/outcome.ts";
import { SETTINGS } from "../settings.ts";
import type { JobRow } from "../store/schema.ts";

/** What can happen to a job. Events of an agent are given only if it holds the job's current attempt. */
export type JobEvent =
  | { readonly type: "offered"; readonly agentId: AgentId; readonly envelope: Sha256; readonly nowMs: number }
  /** A beat names it: the attempt has a lease from now on. */
  | {
      readonly type: "named";
      readonly running: boolean;
      readonly step: string | null;
      readonly startedAt: number | null;
      readonly leaseUntil: number;
    }
  /** The first bytes of its log are here: it runs, whether or not a beat has said so yet. */
  | { readonly type: "logged"; readonly nowMs: number }
  /** Handed back for want of capacity. */
  | { readonly type: "returned"; readonly nowMs: number }
  /** The agent could not accept its envelope. */
  | { readonly type: "rejected"; readonly code: string; readonly nowMs: number }
  /** The agent cannot take it any more, or is silent for too long after an offer. */
  | { readonly type: "withdrawn"; readonly nowMs: number }
  | { readonly type: "lease_expired"; readonly nowMs: number }
  /** A secret it is to be given cannot be had: it is never offered without. */
  | { readonly type: "unprovided"; readonly code: string; readonly nowMs: number }
  /** Somebody wants it ended. */
  | { readonly type: "cancel"; readonly why: string; readonly nowMs: number }
  | {
      readonly type: "receipt";
      readonly outcome: Outcome;
      readonly reason: string;
      readonly sha256: Sha256;
      readonly startedAt: number | null;
      readonly nowMs: number;
    };

/** The members of a job that its course changes. */
export type JobChange = Partial<
  Pick<
    JobRow,
    | "state"
    | "attempt"
    | "agent_id"
    | "envelope_sha256"
    | "offered_at"
    | "lease_until"
    | "rejections"
    | "step"
    | "outcome"
    | "reason"
    | "receipt_sha256"
    | "queued_at"
    | "started_at"
    | "finished_at"
    | "cancel_reason"
  >
>;

type Event<T extends JobEvent["type"]> = Extract<JobEvent, { readonly type: T }>;
type Row = {
  readonly [T in JobEvent["type"]]: (job: JobRow, event: Event<T>) => JobChange | null;
};

/** What the event does to the job; null when it does nothing. Every state has an answer to every event. Pure. */
export function jobAfter(job: JobRow, event: JobEvent): JobChange | null {
  const cell = TABLE[job.state][event.type] as (job: JobRow, event: JobEvent) => JobChange | null;
  return cell(job, event);
}

const nothing = (): null => null;

const offer = (_: JobRow, { agentId, envelope, nowMs }: Event<"offered">): JobChange => ({
  state: "offered",
  agent_id: agentId,
  envelope_sha256: envelope,
  offered_at: nowMs,
});

const hold = (job: JobRow, { running, step, startedAt, leaseUntil }: Event<"named">): JobChange => ({
  state: running || job.state === "running" ? "running" : "leased",
  lease_until: leaseUntil,
  step: step ?? job.step,
  started_at: startedAt ?? job.started_at,
});

const begin = (job: JobRow, { nowMs }: Event<"logged">): JobChange => ({
  state: "running",
  started_at: job.started_at ?? nowMs,
});

/** Back to the queue as the same attempt: nobody has started it. */
const requeue = (_: JobRow, { nowMs }: { readonly nowMs: number }): JobChange => ({
  state: "queued",
  ...FREE,
  queued_at: nowMs,
});

/** Back to the queue as another attempt: what the last one did, or did not do, is fenced off by its number. */
const nextAttempt = (job: JobRow, { nowMs }: { readonly nowMs: number }): JobChange => ({
  ...requeue(job, { nowMs }),
  attempt: job.attempt + 1,
  step: null,
  started_at: null,
});

const reject = (job: JobRow, { code, nowMs }: Event<"rejected">): JobChange => {
  const rejections = job.rejections + 1;
  if (rejections < SETTINGS.REJECTIONS) return { ...requeue(job, { nowMs }), rejections };
  return { state: "finished", rejections, outcome: "refused", reason: code, finished_at: nowMs };
};

const refuse = (_: JobRow, { code, nowMs }: Event<"unprovided">): JobChange => ({
  state: "finished",
  outcome: "refused",
  reason: code,
  finished_at: nowMs,
});

const expire = (job: JobRow, event: Event<"lease_expired">): JobChange =>
  job.on_lost === "requeue" && job.attempt < SETTINGS.ATTEMPTS
    ? nextAttempt(job, event)
    : { state: "overdue" };

/** A receipt ends the job, unless it says that nothing ran, or that the lease of a job to be tried again was lost. */
const settle = (job: JobRow, event: Event<"receipt">): JobChange => {
  const again =
    event.reason === "never_started" || (event.outcome === "lease_lost" && job.on_lost === "requeue");
  if (again && job.attempt < SETTINGS.ATTEMPTS) return nextAttempt(job, event);
  return {
    state: "finished",
    outcome: event.outcome,
    reason: event.reason,
    receipt_sha256: event.sha256,
    started_at: event.startedAt ?? job.started_at,
    finished_at: event.nowMs,
    lease_until: null,
  };
};

/** Nobody else gets it, whatever its agent says or does not say from here on. */
const beginCancel = (_: JobRow, { why }: Event<"cancel">): JobChange => ({
  state: "cancelling",
  cancel_reason: why,
});

const cancelled = (_: JobRow, { nowMs }: { readonly nowMs: number }): JobChange => ({
  state: "finished",
  outcome: "cancelled",
  reason: "order_cancel",
  finished_at: nowMs,
  lease_until: null,
});

const cancelQueued = (job: JobRow, event: Event<"cancel">): JobChange => ({
  ...cancelled(job, event),
  cancel_reason: event.why,
});

/** A run that is being cancelled keeps its lease until it has ended; what never had one gets none any more. */
const holdCancelling = (job: JobRow, event: Event<"named">): JobChange | null =>
  job.lease_until === null ? null : { ...hold(job, event), state: "cancelling" };

/** It was offered and never taken: nothing of it runs anywhere. */
const withdrawCancelling = (job: JobRow, event: Event<"withdrawn">): JobChange | null =>
  job.lease_until === null ? cancelled(job, event) : null;

/** What the agent made of it counts, also when it had finished first; but it is not tried again. */
const settleCancelling = (job: JobRow, event: Event<"receipt">): JobChange =>
  event.reason === "never_started" || event.outcome === "lease_lost"
    ? { ...cancelled(job, event), receipt_sha256: event.sha256 }
    : settle(job, event);

const FREE = { agent_id: null, envelope_sha256: null, offered_at: null, lease_until: null } as const;

const TABLE: Readonly<Record<JobState, Row>> = {
  queued: {
    offered: offer,
    named: nothing,
    logged: nothing,
    returned: nothing,
    rejected: nothing,
    withdrawn: nothing,
    unprovided: refuse,
    lease_expired: nothing,
    cancel: cancelQueued,
    receipt: nothing,
  },
  offered: {
    // The beat after the offer did not name it: the reply was lost, or came to nothing. Offered again.
    offered: offer,
    named: hold,
    logged: nothing,
    returned: requeue,
    rejected: reject,
    withdrawn: requeue,
    unprovided: refuse,
    lease_expired: nothing,
    cancel: beginCancel,
    receipt: settle,
  },
  leased: {
    offered: nothing,
    named: hold,
    logged: begin,
    returned: requeue,
    rejected: nothing,
    withdrawn: nothing,
    unprovided: nothing,
    lease_expired: expire,
    cancel: beginCancel,
    receipt: settle,
  },
  running: {
    offered: nothing,
    named: hold,
    logged: nothing,
    returned: nothing,
    rejected: nothing,
    withdrawn: nothing,
    unprovided: nothing,
    lease_expired: expire,
    cancel: beginCancel,
    receipt: settle,
  },
  overdue: {
    offered: nothing,
    named: hold,
    logged: nothing,
    returned: nothing,
    rejected: nothing,
    withdrawn: nothing,
    unprovided: nothing,
    lease_expired: nothing,
    // Its lease is over already: nobody is waited for.
    cancel: cancelQueued,
    receipt: settle,
  },
  cancelling: {
    offered: nothing,
    named: holdCancelling,
    logged: nothing,
    returned: cancelled,
    rejected: cancelled,
    withdrawn: withdrawCancelling,
    unprovided: nothing,
    lease_expired: cancelled,
    cancel: nothing,
    receipt: settleCancelling,
  },
  finished: {
    offered: nothing,
    named: nothing,
    logged: nothing,
    returned: nothing,
    rejected: nothing,
    withdrawn: nothing,
    unprovided: nothing,
    lease_expired: nothing,
    cancel: nothing,
    receipt: nothing,
  },
};
