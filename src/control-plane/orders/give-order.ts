import { fault } from "../../fault/fault.ts";
import type { AccountId, AgentId } from "../../protocol/ids.ts";
import type { Order } from "../../protocol/order.ts";
import { instanceInChain } from "../beat/instance.ts";
import type { AgentRecord } from "../store/agents.ts";
import { agentRecords, saveAgent, saveBeats } from "../store/agents.ts";
import { noteInstance } from "../store/instances.ts";
import { changeJob, heldJobs } from "../store/jobs.ts";
import { addOrder, openOrders, saveOrder } from "../store/orders.ts";
import type { AgentRow, JobRow, OrderRow, Writer } from "../store/schema.ts";
import { leaveSlot } from "../store/slots.ts";
import { type Given, newOrder, quarantine, type Stopped, settledAs, terminate } from "./new-order.ts";
import { settle } from "./settle.ts";

/** An order that was given, or the open one that says the same, and the agent as it is then. */
export interface OrderGiven {
  readonly agent: AgentRow;
  readonly order: OrderRow;
  /** Jobs the agent was offered and others may have now. */
  readonly withdrawn: readonly JobRow[];
}

/** The agent, if it is the account's. Throws API_NOT_FOUND. */
export async function requireAgent(db: Writer, accountId: AccountId, agentId: AgentId): Promise<AgentRecord> {
  const record = (await agentRecords(db, [{ accountId, agentId }])).get(agentId);
  if (record === undefined) throw fault("API_NOT_FOUND", { what: `the agent "${agentId}"` });
  return record;
}

/**
 * Gives an agent an order, to be signed and delivered with its next heartbeat. Open orders it contradicts are not
 * delivered any more; one that says the same stays the only one. Throws AGENT_ENDED once the agent was told to end.
 */
export async function giveOrder(
  db: Writer,
  agent: AgentRow,
  order: Exclude<Order, { type: "quarantine" | "terminal" }>,
  given: Given,
): Promise<OrderGiven> {
  refuseEnded(agent);
  const { same, superseded } = settle(await open(db, agent), order);
  if (same !== null) return { agent, order: same, withdrawn: [] };
  await supersede(db, superseded, given.nowMs);
  const next = newOrder(agent, order, given);
  await addOrder(db, next.row);
  await saveAgent(db, next.agent);
  return { agent: next.agent, order: next.row, withdrawn: [] };
}

/**
 * Quarantines an agent, unless it is: nothing is offered to it from here on. Of one that is, a recovery that has not
 * happened yet is taken back. Throws AGENT_ENDED.
 */
export async function giveQuarantine(db: Writer, record: AgentRecord, given: Given): Promise<OrderGiven> {
  const { agent, beat } = record;
  refuseEnded(agent);
  const orders = await open(db, agent);
  const known = orders.find(({ type }) => type === "quarantine");
  if (agent.quarantined_at !== null && known !== undefined) {
    const recoveries = orders.filter(({ type }) => type === "recover");
    await supersede(db, recoveries, given.nowMs);
    return { agent, order: known, withdrawn: [] };
  }
  const last = instanceInChain(record);
  if (last !== null) await noteInstance(db, last);
  await saveBeats(db, [{ ...beat, inst_beats: 0 }]);
  return await stop(db, quarantine(agent, await held(db, agent), given));
}

/** Ends an agent for good, unless it was told so already. */
export async function giveTerminate(
  db: Writer,
  agent: AgentRow,
  graceS: number,
  given: Given,
): Promise<OrderGiven> {
  if (agent.ended_at !== null) refuseEnded(agent);
  const orders = await open(db, agent);
  const { same, superseded } = settle(orders, { type: "terminal", reason: given.reason, grace_s: graceS });
  if (same !== null) return { agent, order: same, withdrawn: [] };
  // A quarantine stays in force, and every process is to hear of it.
  const over = superseded.filter(({ type }) => type !== "quarantine");
  await supersede(db, over, given.nowMs);
  return await stop(db, terminate(agent, await held(db, agent), graceS, given));
}

async function stop(db: Writer, stopped: Stopped): Promise<OrderGiven> {
  const { agent, order, withdrawn, keepsSlot } = stopped;
  await addOrder(db, order);
  await saveAgent(db, agent);
  await leaveSlot(db, agent, keepsSlot || agent.quarantined_at === null);
  for (const job of withdrawn) {
    const { state, agent_id, envelope_sha256, offered_at, lease_until, queued_at } = job;
    const { outcome, reason, finished_at } = job;
    const change = { state, agent_id, envelope_sha256, offered_at, lease_until, queued_at };
    await changeJob(db, job.account_id, job.id, { ...change, outcome, reason, finished_at });
  }
  return { agent, order, withdrawn };
}

async function supersede(db: Writer, orders: readonly OrderRow[], nowMs: number): Promise<void> {
  for (const order of orders) await saveOrder(db, order, settledAs(order, "superseded", nowMs));
}

const open = (db: Writer, { account_id, id }: AgentRow): Promise<OrderRow[]> =>
  openOrders(db, [{ accountId: account_id, agentId: id }]);

const held = (db: Writer, { account_id, id }: AgentRow): Promise<JobRow[]> =>
  heldJobs(db, [{ accountId: account_id, agentId: id }]);

function refuseEnded({ terminated_at, end_reason }: AgentRow): void {
  if (terminated_at !== null) throw fault("AGENT_ENDED", { reason: end_reason ?? "" });
}
