import type { JobId, Sha256 } from "../../protocol/ids.ts";
import type { BeatJob, BeatReply } from "../../protocol/wire.ts";
import { type JobEvent, jobAfter } from "../queue/job-table.ts";
import { chooseOffers, freePlaces, takesWork } from "../queue/offers.ts";
import type { JobRow } from "../store/schema.ts";
import type { BeatInput, ReceivedReceipt } from "./beat-input.ts";

/** What a beat whose place in the chain is right is decided upon. */
export interface BeatFacts {
  readonly input: BeatInput;
  /** Jobs of which the agent holds the current attempt. */
  readonly held: readonly JobRow[];
  readonly slotHeld: boolean;
  /** Kinds the license includes, and how many jobs at once. */
  readonly licensedKinds: readonly string[];
  readonly maxConcurrent: number;
  readonly leaseTtlS: number;
  /** False when the agent is told to take nothing, or to end: nothing is offered then, whatever it says of itself. */
  readonly mayTake: boolean;
}

/** What the beat itself changes, before anything is offered. */
export interface BeatNews {
  /** The agent's jobs after it, those it no longer holds included. */
  readonly jobs: ReadonlyMap<JobId, JobRow>;
  readonly changed: ReadonlySet<JobId>;
  readonly leases: BeatReply["leases"];
  readonly acks: readonly Sha256[];
  /** Receipts to store; `decides` when it settled the current attempt of a job the agent held. */
  readonly receipts: readonly { readonly receipt: UsableReceipt; readonly decides: boolean }[];
  /** Attempts that have a lease since this beat. */
  readonly leased: readonly JobRow[];
  /** Jobs not to be offered to this agent in the same breath. */
  readonly except: ReadonlySet<JobId>;
  readonly unusable: readonly Extract<ReceivedReceipt, { usable: false }>[];
}

type UsableReceipt = Extract<ReceivedReceipt, { usable: true }>;

/**
 * Takes in what a beat says: its receipts first, then the envelopes it rejected, the jobs it names, and what it says by
 * not naming an offer. A receipt that is not for the current attempt of a job the agent holds decides nothing, and is
 * stored and acknowledged all the same. Pure.
 */
export function takeNews(facts: BeatFacts): BeatNews {
  const { input, leaseTtlS } = facts;
  const { nowMs } = input;
  const ledger = new Ledger(facts.held);
  const receipts = input.receipts.flatMap((receipt) =>
    receipt.usable ? [{ receipt, decides: settles(ledger, receipt, nowMs) }] : [],
  );
  const except = new Set<JobId>();
  for (const { envelope_sha256, code } of input.request.rejected) {
    const job = ledger.jobOfEnvelope(envelope_sha256);
    if (job && ledger.apply(job, { type: "rejected", code, nowMs })) except.add(job.id);
  }
  const leases: BeatReply["leases"] = [];
  const leased: JobRow[] = [];
  for (const named of input.request.jobs) {
    const job = ledger.attempt(named.jti, named.attempt);
    if (job === null) continue; // not this agent's, or not this attempt any more: no lease, it drops it
    if (named.state === "returned") {
      if (ledger.apply(job, { type: "returned", nowMs })) except.add(job.id);
      continue;
    }
    if (!ledger.apply(job, namedEvent(named, nowMs + leaseTtlS * 1000))) continue;
    leases.push({ jti: named.jti, attempt: named.attempt, ttl_s: leaseTtlS });
    if (job.state === "offered") leased.push(job);
  }
  return {
    jobs: ledger.jobs,
    changed: ledger.changed,
    leases,
    acks: receipts.map(({ receipt }) => receipt.sha256),
    receipts,
    leased,
    except,
    unusable: input.receipts.flatMap((receipt) => (receipt.usable ? [] : [receipt])),
  };
}

/**
 * The jobs to offer the agent after its news, out of those queued, and the offers it neither named nor can take now:
 * those go back to the queue. Pure.
 */
export function offersFor(
  facts: BeatFacts,
  news: BeatNews,
  queued: readonly JobRow[],
): { offers: readonly JobRow[]; withdrawn: readonly JobRow[] } {
  const { held, ...offer } = offerFacts(facts, news);
  const offers = chooseOffers({ ...offer, held, except: news.except }, queued);
  const chosen = new Set(offers.map(({ id }) => id));
  const named = new Set(facts.input.request.jobs.map(({ jti }) => jti));
  const withdrawn = held.flatMap((job) => {
    // Of one that is being cancelled, only what the agent does not speak of was never taken.
    const untaken = job.state === "offered" || (job.state === "cancelling" && !named.has(job.id));
    if (!untaken || chosen.has(job.id)) return [];
    const change = jobAfter(job, { type: "withdrawn", nowMs: facts.input.nowMs });
    return change === null ? [] : [{ ...job, ...change }];
  });
  return { offers, withdrawn };
}

/** How many jobs, and of which kinds, to look for in the queue. */
export function appetite(facts: BeatFacts, news: BeatNews): { kinds: readonly string[]; free: number } {
  const offer = offerFacts(facts, news);
  const free = takesWork(offer.state, offer.slotHeld) ? freePlaces(offer) : 0;
  return { kinds: offer.kinds, free };
}

function offerFacts(facts: BeatFacts, news: BeatNews) {
  const { input, slotHeld, mayTake, licensedKinds, maxConcurrent } = facts;
  const { agent, capacity, host } = input.request;
  return {
    state: agent.state,
    slotHeld: slotHeld && mayTake,
    kinds: host.kinds.filter((kind) => licensedKinds.includes(kind)),
    capacity: Math.min(capacity.max, maxConcurrent),
    inFlight: capacity.in_flight,
    held: [...news.jobs.values()].filter((job) => job.agent_id === input.agentId && job.state !== "finished"),
  };
}

function settles(ledger: Ledger, { claims, sha256 }: UsableReceipt, nowMs: number): boolean {
  const job = ledger.attempt(claims.jti, claims.attempt);
  if (job === null) return false;
  const { outcome, reason, started_at: startedAt } = claims;
  return ledger.apply(job, { type: "receipt", outcome, reason, sha256, startedAt, nowMs });
}

const namedEvent = (named: BeatJob, leaseUntil: number): JobEvent => ({
  type: "named",
  running: named.state === "running" || named.state === "stopping",
  step: named.progress?.step ?? null,
  startedAt: named.started_at ?? null,
  leaseUntil,
});

/** The agent's jobs while its beat is taken in. */
class Ledger {
  readonly jobs: Map<JobId, JobRow>;
  readonly changed = new Set<JobId>();

  constructor(held: readonly JobRow[]) {
    this.jobs = new Map(held.map((job) => [job.id, job]));
  }

  /** The job if the agent still holds this attempt of it. */
  attempt(id: JobId, attempt: number): JobRow | null {
    const job = this.jobs.get(id);
    return job !== undefined && job.agent_id !== null && job.attempt === attempt ? job : null;
  }

  jobOfEnvelope(sha256: Sha256): JobRow | null {
    return [...this.jobs.values()].find((job) => job.envelope_sha256 === sha256) ?? null;
  }

  /** Lets the event happen to the job; false when it does nothing. */
  apply(job: JobRow, event: JobEvent): boolean {
    const change = jobAfter(job, event);
    if (change === null) return false;
    this.jobs.set(job.id, { ...job, ...change });
    this.changed.add(job.id);
    return true;
  }
}
