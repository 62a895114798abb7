import { fault } from "../fault/fault.ts";
import type { AgentId } from "../protocol/ids.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import {
  type BeatAnswer,
  BeatAnswerSchema,
  type BeatRequest,
  REPLY_HEADER,
  ROUTES,
} from "../protocol/wire.ts";
import { verifyReply } from "../trust/reply.ts";
import type { TrustSet } from "../trust/trust-set.ts";
import type { Session } from "./session.ts";

/**
 * One heartbeat that is on its way until it is answered. A retry sends the same bytes: the server answers a repeated
 * request id with the reply to the first, so leases in it speak of exactly the jobs these bytes name.
 */
export interface PendingBeat {
  readonly request: BeatRequest;
  readonly body: Uint8Array;
  /**
   * When it was made, which is no later than its first sending. Leases count from here: the reply to a later try may be
   * the one made for the first, and its leases as old.
   */
  readonly madeBootMs: number;
}

export const pendingBeat = (request: BeatRequest, madeBootMs: number): PendingBeat => ({
  request,
  body: new TextEncoder().encode(JSON.stringify(request)),
  madeBootMs,
});

/** Sends a beat and opens its reply: signature first, then schema. Throws WIRE_* faults; nothing is changed here. */
export async function sendBeat(
  pending: PendingBeat,
  ctx: {
    session: Session;
    trust: TrustSet;
    agentId: AgentId;
    url: string;
    nowS: () => number;
    signal: AbortSignal;
  },
): Promise<BeatAnswer> {
  const reply = await ctx.session.send({
    method: "POST",
    path: ROUTES.heartbeat,
    headers: { "content-type": "application/json" },
    body: pending.body,
    maxReplyBytes: LIMITS.REPLY_BODY_BYTES,
    accept: "application/json",
    signal: ctx.signal,
  });
  const url = new URL(ROUTES.heartbeat, ctx.url).href;
  const { trust, agentId } = ctx;
  await verifyReply(reply.headers.get(REPLY_HEADER), reply.body, {
    trust,
    agentId,
    rid: pending.request.beat.rid,
    nowS: ctx.nowS(),
    url,
  });
  const parsed = parseDocument(reply.body, BeatAnswerSchema);
  if (!parsed.ok) throw fault("WIRE_REPLY_MALFORMED", { url, why: `${parsed.path}: ${parsed.why}` });
  return parsed.value;
}

/** Full jitter over an exponential ceiling: spread evenly in [0, min(60 s, 1 s × 2^failures)]. */
export function backoffMs(failures: number, random01: number, atLeastMs = 0): number {
  const ceiling = Math.min(
    LIMITS.BEAT_BACKOFF_MAX_MS,
    LIMITS.BEAT_BACKOFF_MIN_MS * 2 ** Math.min(failures, 16),
  );
  return Math.max(atLeastMs, Math.round(ceiling * random01));
}

/** The interval the server asks for, within the bounds the agent enforces, ± 10 %. */
export function intervalMs(askedS: number, random01: number): number {
  return Math.round(boundedInterval(askedS) * 1000 * (0.9 + 0.2 * random01));
}

export const boundedInterval = (askedS: number): number =>
  Math.min(LIMITS.BEAT_INTERVAL_MAX_S, Math.max(LIMITS.BEAT_INTERVAL_MIN_S, askedS));

/** Beats outside the interval: five at once, then one every two seconds. */
export class NewsBudget {
  private tokens = BURST;
  private filledAtMs: number;

  constructor(bootMs: number) {
    this.filledAtMs = bootMs;
  }

  /** Milliseconds until a beat may go out for news; 0 takes one from the budget. */
  take(bootMs: number): number {
    const gained = Math.floor((bootMs - this.filledAtMs) / REFILL_MS);
    if (gained > 0) {
      this.tokens = Math.min(BURST, this.tokens + gained);
      this.filledAtMs += gained * REFILL_MS;
    }
    if (this.tokens === 0) return this.filledAtMs + REFILL_MS - bootMs;
    if (this.tokens === BURST) this.filledAtMs = bootMs;
    this.tokens -= 1;
    return 0;
  }
}

const BURST = 5;
const REFILL_MS = 2_000;
