import { LIMITS } from "../protocol/limits.ts";
import type { BeatRequest } from "../protocol/wire.ts";
import type { JobRow } from "./job-row.ts";
import { IN_FLIGHT } from "./job-table.ts";
import type { ChainPosition, Journal } from "./journal.ts";
import type { SealedState } from "./sealed-state.ts";
import { standing } from "./standing.ts";
import { wellFormed } from "./well-formed.ts";

/** The part of a beat that describes host and program, gathered anew for each. */
export type BeatFacts = Pick<BeatRequest, "fingerprint" | "fingerprint_unknown" | "host"> &
  Pick<BeatRequest["agent"], "bundle" | "policy" | "version">;

/** Who sends, from where in the chain, in which state. */
export interface BeatFrame {
  readonly chain: ChainPosition;
  readonly inst: string;
  readonly boot: string;
  readonly rid: string;
  readonly state: BeatRequest["agent"]["state"];
  readonly startedAt: number;
  readonly seal: SealedState["head"];
  readonly findings: SealedState["findings"];
  readonly epoch: number;
  readonly capacity: number;
  readonly nowMs: number;
  readonly offsetMs: number | null;
}

/** Makes the request of one heartbeat from what the journal holds and what the host says. */
export function composeBeat(frame: BeatFrame, facts: BeatFacts, journal: Journal): BeatRequest {
  const { fingerprint, fingerprint_unknown, host, ...agent } = facts;
  // What is in flight goes first: an attempt that is not named loses its lease.
  const jobs = [IN_FLIGHT, ["returned"] as const].flatMap((states) => journal.jobsIn(states));
  const named = jobs.slice(0, LIMITS.BEAT_JOBS);
  const { inst, boot, rid, chain } = frame;
  return wellFormed({
    v: 1,
    beat: { n: chain.n, nonce: chain.nonce, inst, boot, rid },
    agent: { ...agent, state: frame.state, started_at: frame.startedAt },
    fingerprint,
    fingerprint_unknown,
    seal: frame.seal && { ...frame.seal, ...headOf(journal) },
    integrity: frame.findings.slice(0, LIMITS.SEAL_FINDINGS).map(({ code, name }) => ({ code, name })),
    orders: { epoch: frame.epoch, seq: standing.lastOrder(journal, frame.epoch) },
    capacity: { max: frame.capacity, in_flight: named.filter((row) => row.state !== "returned").length },
    jobs: named.map(beatJob),
    receipts: journal.openReceipts().map((receipt) => receipt.jws),
    rejected: journal.rejected(),
    host,
    clock: { now: frame.nowMs, offset_ms: frame.offsetMs },
  });
}

function headOf(journal: Journal) {
  const { seq, sha256 } = journal.receiptHead();
  return { head_seq: seq, head: sha256 };
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
