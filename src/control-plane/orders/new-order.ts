import type { Order, OrderType } from "../../protocol/order.ts";
import { jobAfter } from "../queue/job-table.ts";
import type { AgentRow, JobRow, OrderRow } from "../store/schema.ts";

/** Who orders something, and why. `by` is the operator, or the Control Plane itself. */
export interface Given {
  readonly by: "operator" | "control-plane";
  readonly reason: string;
  readonly nowMs: number;
}

/** The next order of an agent, and the agent with that number given. */
export function newOrder(
  agent: AgentRow,
  order: Order,
  { by, reason, nowMs }: Given,
): { agent: AgentRow; row: OrderRow } {
  const seq = agent.order_seq + 1;
  const row: OrderRow = {
    agent_id: agent.id,
    epoch: agent.epoch,
    seq,
    account_id: agent.account_id,
    type: order.type,
    body: JSON.stringify(order),
    reason,
    given_by: by,
    given_at: nowMs,
    delivered_at: null,
    state: "open",
    settled_at: null,
  };
  return { agent: { ...agent, order_seq: seq }, row };
}

/** An order that is settled: taken by the agent, or not meant any more. */
export const settledAs = (order: OrderRow, state: OrderRow["state"], nowMs: number): OrderRow => ({
  ...order,
  state,
  settled_at: nowMs,
});

/** Orders that still mean something after an agent got a new epoch. */
const CARRIED: readonly OrderType[] = ["cancel", "drain", "stop", "resume", "reseal", "terminal"];

/** Ends the open orders of an epoch that is over; what still means something is given again in the agent's new one. */
export function carryOver(
  open: readonly OrderRow[],
  agent: AgentRow,
  nowMs: number,
): {
  readonly agent: AgentRow;
  readonly orders: readonly OrderRow[];
  readonly ended: readonly { readonly before: OrderRow; readonly after: OrderRow }[];
} {
  const ended = open.map((before) => {
    const done = before.type === "quarantine" || before.type === "recover";
    return { before, after: settledAs(before, done ? "taken" : "void", nowMs) };
  });
  const orders = open
    .filter(({ type }) => CARRIED.includes(type))
    .map((row, index) => ({ ...row, epoch: agent.epoch, seq: index + 1, delivered_at: null }));
  return { agent: { ...agent, order_seq: orders.length }, orders, ended };
}

/** What it means for an agent that it gets no work any more. */
export interface Stopped {
  readonly agent: AgentRow;
  readonly order: OrderRow;
  /** Jobs it was offered and never took, as they are now: others may have them. */
  readonly withdrawn: readonly JobRow[];
  /** Jobs of it hold leases, which end by its receipts or by silence: until then it keeps its slot. */
  readonly keepsSlot: boolean;
}

/** Quarantines an agent: nothing is offered from here on, what runs ends by its lease. Pure. */
export function quarantine(agent: AgentRow, held: readonly JobRow[], given: Given): Stopped {
  const reason = given.reason.slice(0, 512);
  const next = newOrder(agent, { type: "quarantine", reason }, { ...given, reason });
  const stopped = { ...next.agent, quarantined_at: given.nowMs, quarantine_reason: reason };
  return { agent: stopped, order: next.row, ...parted(held, given.nowMs) };
}

/** Ends an agent for good. Pure. */
export function terminate(agent: AgentRow, held: readonly JobRow[], graceS: number, given: Given): Stopped {
  const order: Order = { type: "terminal", reason: given.reason, grace_s: graceS };
  const next = newOrder(agent, order, given);
  const stopped = { ...next.agent, terminated_at: given.nowMs, end_reason: given.reason };
  return { agent: stopped, order: next.row, ...parted(held, given.nowMs) };
}

function parted(held: readonly JobRow[], nowMs: number): Pick<Stopped, "withdrawn" | "keepsSlot"> {
  const withdrawn = held.flatMap((job) => {
    const change = jobAfter(job, { type: "withdrawn", nowMs });
    return change === null ? [] : [{ ...job, ...change }];
  });
  return { withdrawn, keepsSlot: holdsLeases(held) };
}

/** True when a job among these has a lease that is not over. */
export const holdsLeases = (held: readonly JobRow[]): boolean =>
  held.some(({ state, lease_until }) => lease_until !== null && state !== "overdue" && state !== "finished");
