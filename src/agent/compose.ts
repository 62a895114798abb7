import { LIMITS } from "../protocol/limits.ts";
import type { BeatRequest } from "../protocol/wire.ts";
import type { JobRow } from "./job-row.ts";
import { IN_FLIGHT } from "./job-table.ts";
import type { ChainPosition, Journal } from "./journal.ts";
import { wellFormed } from "./well-formed.ts";

/** The part of a beat that describes host and program, gathered anew for each. */
export type BeatFacts = Pick<BeatRequest, "fingerprint" | "host"> &
  Pick<BeatRequest["agent"], "bundle" | "policy" | "version">;

/** Who sends, from where in the chain, in which state. */
export interface BeatFrame {
  readonly chain: ChainPosition;
  readonly inst: string;
  readonly boot: string;
  readonly rid: string;
  readonly state: BeatRequest["agent"]["state"];
  readonly startedAt: number;
  readonly epoch: number;
  readonly capacity: number;
  readonly nowMs: number;
  readonly offsetMs: number | null;
}

/** Makes the request of one heartbeat from what the journal holds and what the host says. */
export function composeBeat(frame: BeatFrame, facts: BeatFacts, journal: Journal): BeatRequest {
  const { fingerprint, host, ...agent } = facts;
  const jobs = journal.jobsIn([...IN_FLIGHT, "returned"]).slice(0, LIMITS.BEAT_JOBS);
  const { inst, boot, rid, chain } = frame;
  return wellFormed({
    v: 1,
    beat: { n: chain.n, nonce: chain.nonce, inst, boot, rid },
    agent: { ...agent, state: frame.state, started_at: frame.startedAt },
    fingerprint,
    fingerprint_unknown: [],
    seal: null,
    integrity: [],
    orders: { epoch: frame.epoch, seq: 0 },
    capacity: { max: frame.capacity, in_flight: jobs.filter((row) => row.state !== "returned").length },
    jobs: jobs.map(beatJob),
    receipts: journal.openReceipts().map((receipt) => receipt.jws),
    rejected: journal.rejected(),
    host,
    clock: { now: frame.nowMs, offset_ms: frame.offsetMs },
  });
}

function beatJob(row: JobRow): BeatRequest["jobs"][number] {
  return {
    jti: row.claims.jti,
    attempt: row.attempt,
    state: row.state as BeatRequest["jobs"][number]["state"],
    ...(row.startedAt === null ? {} : { started_at: row.startedAt }),
    ...(row.step === null ? {} : { progress: { step: row.step.name, step_started_at: row.step.at } }),
  };
}
