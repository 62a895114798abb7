import { invariant } from "../fault/fault.ts";

/** Where one attempt of a job stands on this agent. */
export const JOB_STATES = [
  "accepted",
  "leased",
  "running",
  "stopping",
  "finished",
  "delivered",
  "returned",
] as const;
export type JobState = (typeof JOB_STATES)[number];

export const JOB_EVENTS = [
  "lease",
  "lease_missing",
  "start",
  "stop",
  "end",
  "abandon",
  "acknowledge",
] as const;
export type JobEvent = (typeof JOB_EVENTS)[number];

/**
 * Every transition there is; a missing row is a defect, not a default. `abandon` is the end of an attempt whose
 * process is gone or never was: after a restart, or when the agent stops before the start. An attempt handed back that is
 * offered again is written anew.
 */
const ROWS: Readonly<Record<JobState, Readonly<Partial<Record<JobEvent, JobState>>>>> = {
  accepted: { lease: "leased", lease_missing: "finished", abandon: "finished" },
  leased: { start: "running", lease: "leased", lease_missing: "finished", abandon: "finished" },
  running: {
    lease: "running",
    lease_missing: "running",
    stop: "stopping",
    end: "finished",
    abandon: "finished",
  },
  stopping: {
    lease: "stopping",
    lease_missing: "stopping",
    stop: "stopping",
    end: "finished",
    abandon: "finished",
  },
  finished: { acknowledge: "delivered" },
  delivered: {},
  returned: {},
};

/** States in which an attempt takes one of the agent's places. */
export const IN_FLIGHT: readonly JobState[] = ["accepted", "leased", "running", "stopping"];

/** The state after `event`; null when the table has no such row. */
export const transition = (state: JobState, event: JobEvent): JobState | null => ROWS[state][event] ?? null;

/** The same for a caller that knows the row exists. */
export function step(state: JobState, event: JobEvent): JobState {
  const next = transition(state, event);
  invariant(next !== null, `a job that is ${state} has no ${event}`);
  return next;
}
