import { type Fault, fault } from "../fault/fault.ts";
import type { Order } from "../protocol/order.ts";
import type { LicenseClaims } from "../protocol/trust.ts";
import { type VerifiedOrder, verifyOrder } from "../trust/order.ts";
import type { TrustSet } from "../trust/trust-set.ts";
import type { Journal } from "./journal.ts";
import type { Ending } from "./receipts.ts";
import { standing } from "./standing.ts";
import { cancelledBeforeStart } from "./verdict.ts";

/** What judging orders needs, as values. */
export interface OrdersContext {
  readonly trust: TrustSet;
  readonly license: LicenseClaims;
  readonly jkt: string;
  readonly inst: string;
  readonly nowS: number;
  readonly lastSeq: number;
  readonly quarantined: boolean;
  readonly ended: boolean;
  readonly tampered: boolean;
  /** Why the state files cannot be sealed under this number; null when they can. */
  readonly resealProblem: (ctr: number) => string | null;
}

/** What becomes of the orders of one reply. */
export interface OrderPlan {
  /** To be followed, in order. */
  readonly taken: readonly VerifiedOrder[];
  readonly refused: readonly Fault[];
  /** Number of the last order that needs no telling again. */
  readonly lastSeq: number;
}

/**
 * Judges the orders of a reply, one after the other, each after what the one before would make of the agent. One that
 * is genuine but does not fit the agent's state counts as taken: telling it again would not make it fit.
 */
export async function judgeOrders(texts: readonly string[], ctx: OrdersContext): Promise<OrderPlan> {
  const taken: VerifiedOrder[] = [];
  const refused: Fault[] = [];
  let { lastSeq, quarantined, ended } = ctx;
  for (const text of texts) {
    const result = await verifyOrder(text, { ...ctx, lastSeq });
    if (result.verdict === "refused") {
      refused.push(result.why);
      continue;
    }
    const { claims } = result.order;
    lastSeq = claims.seq;
    const why = misfit(claims.order, { ...ctx, quarantined, ended });
    if (why !== null) {
      refused.push(fault("ORDER_NOT_APPLICABLE", { why }));
      continue;
    }
    taken.push(result.order);
    quarantined ||= claims.order.type === "quarantine";
    ended ||= claims.order.type === "terminal";
  }
  return { taken, refused, lastSeq };
}

function misfit(order: Order, ctx: OrdersContext): string | null {
  if (ctx.ended) return "this agent has been ended for good";
  switch (order.type) {
    case "recover":
      if (!ctx.quarantined) return "this agent is not quarantined";
      return ctx.tampered ? "its state files are altered, and must be accepted first" : null;
    case "reseal":
      return ctx.resealProblem(order.ctr);
    case "cancel":
    case "drain":
    case "stop":
    case "resume":
    case "quarantine":
    case "terminal":
      return null;
  }
}

/** The attempts a plan ends before their start: a cancelled job may have been accepted and hold no worker yet. */
export function orderEndings(plan: OrderPlan, journal: Journal): Ending[] {
  const cancelled = new Set(
    plan.taken.flatMap(({ claims: { order } }) => (order.type === "cancel" ? [order.jti as string] : [])),
  );
  if (cancelled.size === 0) return [];
  return journal
    .jobsIn(["accepted", "leased"])
    .filter((row) => cancelled.has(row.jti))
    .map((job) => ({ job, verdict: cancelledBeforeStart }));
}

/** Writes down what a plan makes of the agent; runs inside the transaction of the reply that brought it. */
export function storeOrders(plan: OrderPlan, journal: Journal, epoch: number, nowMs: number): void {
  if (plan.lastSeq > standing.lastOrder(journal, epoch)) standing.setLastOrder(journal, epoch, plan.lastSeq);
  for (const order of plan.taken) storeOrder(order, journal, nowMs);
}

function storeOrder({ claims, jws }: VerifiedOrder, journal: Journal, since: number): void {
  const { order, epoch, exp } = claims;
  switch (order.type) {
    case "cancel":
      break; // its attempts' rows say it
    case "drain":
      standing.setHold(journal, { type: "drain", since, grace_s: null });
      break;
    case "stop":
      standing.setHold(journal, { type: "stop", since, grace_s: order.grace_s });
      break;
    case "resume":
      journal.clearMeta("hold");
      break;
    case "quarantine": {
      const { reason } = order;
      const known = standing.quarantine(journal, epoch) !== null; // the first one says why it began
      if (!known) standing.setQuarantine(journal, { epoch, code: "STATE_QUARANTINED", reason, since, jws });
      break;
    }
    case "recover": {
      // A key that may have reached the Control Plane on an earlier order stays the one that is asked for.
      const jkt = standing.recover(journal, epoch)?.jkt ?? null;
      standing.setRecover(journal, { epoch, jws, exp, jkt });
      break;
    }
    case "reseal":
      standing.setReseal(journal, order.ctr);
      break;
    case "terminal":
      standing.setEnd(journal, { reason: order.reason, grace_s: order.grace_s, since, jws });
      break;
  }
}
