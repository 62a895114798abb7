import { LIMITS } from "../../protocol/limits.ts";
import type { AgentState } from "../../protocol/wire.ts";
import { SETTINGS } from "../settings.ts";
import type { JobRow } from "../store/schema.ts";

/** What decides how many jobs an agent may be offered, and which. */
export interface OfferFacts {
  readonly state: AgentState;
  readonly slotHeld: boolean;
  /** Kinds the agent advertises and its license includes. */
  readonly kinds: readonly string[];
  /** The smaller of what the agent can run at once and what the plan lets it. */
  readonly capacity: number;
  /** What the agent says is in flight. */
  readonly inFlight: number;
  /** Jobs of which it holds the current attempt, as this beat leaves them. */
  readonly held: readonly JobRow[];
  /** Jobs it has just handed back or rejected: not again in the same breath. */
  readonly except: ReadonlySet<string>;
}

/** True when an agent in this state may be given work. One that calls itself isolated is not any more: it was heard. */
export const takesWork = (state: AgentState, slotHeld: boolean): boolean =>
  slotHeld && (state === "idle" || state === "working" || state === "isolated");

/** How many more jobs the agent can take; those offered and not yet answered are offered again out of this number. */
export function freePlaces({ capacity, inFlight, held }: Pick<OfferFacts, "capacity" | "inFlight" | "held">) {
  const started = held.filter(
    ({ state, lease_until }) => state !== "offered" && state !== "overdue" && lease_until !== null,
  ).length;
  return Math.max(0, Math.min(capacity - Math.max(inFlight, started), LIMITS.REPLY_JOBS));
}

/**
 * The jobs to sign for the agent now: first those offered before that it did not name, then queued ones, highest
 * priority first and oldest first among equals; as many as it has places, as much as a reply holds. Pure.
 */
export function chooseOffers(facts: OfferFacts, queued: readonly JobRow[]): JobRow[] {
  if (!takesWork(facts.state, facts.slotHeld)) return [];
  const again = facts.held.filter(({ state }) => state === "offered");
  const fresh = queued.filter(({ kind }) => facts.kinds.includes(kind)).toSorted(byTurn);
  const chosen: JobRow[] = [];
  let bytes = 0;
  for (const job of [...again, ...fresh]) {
    const size = envelopeBytes(job);
    if (facts.except.has(job.id) || bytes + size > SETTINGS.OFFER_BYTES) continue;
    if (chosen.length >= freePlaces(facts)) break;
    chosen.push(job);
    bytes += size;
  }
  return chosen;
}

const byTurn = (a: JobRow, b: JobRow): number =>
  b.priority - a.priority || a.queued_at - b.queued_at || (a.id < b.id ? -1 : 1);

/** Size of the job once signed, near enough: base64url adds a third, the rest of the claims and each secret a little. */
export const envelopeBytes = (job: Pick<JobRow, "payload" | "scope" | "blobs" | "secrets">): number => {
  const secrets = (JSON.parse(job.secrets) as readonly string[]).length * LIMITS.SMALL_JWS_BYTES;
  return Math.ceil(((Buffer.byteLength(job.payload + job.scope + job.blobs) + secrets) * 4) / 3) + 2048;
};
