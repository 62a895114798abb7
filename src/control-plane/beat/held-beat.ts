import { LIMITS } from "../../protocol/limits.ts";
import type { Order } from "../../protocol/order.ts";
import type { HeldReply } from "../../protocol/wire.ts";
import type { KeyRing } from "../keys/keyring.ts";
import { holdsLeases, quarantine, settledAs } from "../orders/new-order.ts";
import { dueWhenHeld, orderIn, takenOf, takenSeq } from "../orders/settle.ts";
import { type OrderAddress, signOrder } from "../orders/sign-order.ts";
import type { AgentRow, OrderRow, RetiredKeyRow, Writer } from "../store/schema.ts";
import { leaveSlot } from "../store/slots.ts";
import type { AgentEvent, BeatInput, BeatOutcome } from "./beat-input.ts";
import type { BeatFinding } from "./findings.ts";
import { instanceInChain, instanceOf } from "./instance.ts";
import { type BeatDeps, type Known, noted } from "./known-agent.ts";
import { BELIEVED_MAX } from "./resync.ts";
import { recordFindings, type World } from "./world.ts";

/** Takes an agent out for what a beat of it has shown, and answers that beat as each of its beats from here on. */
export async function quarantineFor(
  db: Writer,
  world: World,
  known: Known,
  findings: readonly BeatFinding[],
  reason: string,
  deps: BeatDeps,
): Promise<BeatOutcome> {
  const { input, record } = known;
  const anomalies = await recordFindings(
    db,
    findings.map((finding) => noted(known, finding)),
    deps.random,
  );
  const given = { by: "control-plane", reason, nowMs: input.nowMs } as const;
  const stopped = quarantine(record.agent, world.heldBy(input.agentId), given);
  world.giveOrder(stopped.order);
  for (const job of stopped.withdrawn) world.putJob(job);
  await leaveSlot(db, record.agent, stopped.keepsSlot);
  const last = instanceInChain(record);
  if (last !== null) world.noteInstance(last);
  const next = { ...known, record: { agent: stopped.agent, beat: { ...record.beat, inst_beats: 0 } } };
  world.putAgent(next.record, true);
  const held = await holdBeat(db, world, next, deps);
  const { aftermath } = held;
  const events: AgentEvent[] = ["quarantined", ...aftermath.events];
  return { ...held, aftermath: { ...aftermath, changedJobs: stopped.withdrawn, anomalies, events } };
}

/** Answers a beat of an agent that is quarantined: orders and nothing else. What the process shows is evidence. */
export async function holdBeat(
  db: Writer,
  world: World,
  { input, record }: Known,
  deps: BeatDeps,
): Promise<BeatOutcome> {
  const { nowMs, request, agentId } = input;
  const ring = deps.keys.current();
  const caughtUp = catchUp(world, record.agent, request.orders, deps.era);
  world.noteInstance(instanceOf(input, caughtUp.epoch));
  const taken = takenSeq(request.orders, caughtUp.epoch);
  for (const order of takenOf(world.openOrders(agentId), taken)) {
    world.putOrder(order, settledAs(order, "taken", nowMs));
  }
  const agent = againRecover(world, caughtUp, input, taken);
  const due = dueWhenHeld(world.openOrders(agentId), taken, request.beat.inst).slice(0, LIMITS.REPLY_ORDERS);
  const orders = await deliver(world, agent, due, ring, nowMs);
  const last = await lastWord(agent, input, due, taken, ring);
  const ended = await noteEnd(db, world, agent, input);
  const told = { ...record.beat, state: request.agent.state, last_beat_at: nowMs };
  const newKeys = ring.claims.seq !== record.beat.trust_seq;
  world.putAgent({ agent: ended, beat: told }, ended !== record.agent);
  const events: AgentEvent[] = ended.ended_at !== agent.ended_at ? ["ended"] : [];
  // Each process is told of new keys: which of them has heard it already is not known.
  const body = heldBody([...orders, ...last], newKeys ? ring : null, nowMs, deps);
  return { body, aftermath: quietAftermath(input, events) };
}

/** Answers a key that another one has followed: it is over, whoever holds it. */
export async function answerRetired(
  world: World,
  input: BeatInput,
  key: RetiredKeyRow,
  deps: BeatDeps,
): Promise<BeatOutcome> {
  const { request, agentId, nowMs } = input;
  world.noteInstance(instanceOf(input, key.epoch));
  const ring = deps.keys.current();
  const to: OrderAddress = { agentId, jkt: key.jkt, epoch: key.epoch };
  const seq = Math.max(key.recover_seq, takenSeq(request.orders, key.epoch)) + 1;
  const order: Order = { type: "terminal", reason: "superseded", grace_s: 0 };
  const knows = request.agent.state === "terminal";
  const orders = knows ? [] : [await signOrder(to, { seq, order }, ring, Math.floor(nowMs / 1000))];
  return { body: heldBody(orders, null, nowMs, deps), aftermath: quietAftermath(input, []) };
}

/** Answers an ended agent whose beats do not fit any more, such as an old copy of it: the end, once more. */
export async function answerEnded(
  { input, record }: Pick<Known, "input" | "record">,
  deps: BeatDeps,
): Promise<BeatOutcome> {
  const taken = takenSeq(input.request.orders, record.agent.epoch);
  const orders = await lastWord(record.agent, input, [], taken, deps.keys.current());
  return { body: heldBody(orders, null, input.nowMs, deps), aftermath: quietAftermath(input, []) };
}

/** Signs the orders for the agent and notes that they have left. */
export async function deliver(
  world: World,
  agent: AgentRow,
  due: readonly OrderRow[],
  ring: KeyRing,
  nowMs: number,
): Promise<string[]> {
  const { id: agentId, jkt, epoch } = agent;
  const nowS = Math.floor(nowMs / 1000);
  const texts: string[] = [];
  for (const row of due) {
    texts.push(await signOrder({ agentId, jkt, epoch }, { seq: row.seq, order: orderIn(row) }, ring, nowS));
    if (row.type === "recover" || row.delivered_at === null) {
      world.putOrder(row, { ...row, delivered_at: nowMs });
    }
  }
  return texts;
}

/** An agent that was told to end and says that it knows, in one way or the other, has ended. */
export async function noteEnd(
  db: Writer,
  world: World,
  agent: AgentRow,
  { request, nowMs }: Pick<BeatInput, "request" | "nowMs">,
): Promise<AgentRow> {
  if (agent.terminated_at === null || agent.ended_at !== null) return agent;
  const untold = world.openOrders(agent.id).find(({ type }) => type === "terminal");
  if (untold !== undefined && request.agent.state !== "terminal") return agent;
  if (untold !== undefined) world.putOrder(untold, settledAs(untold, "taken", nowMs));
  await leaveSlot(db, agent, holdsLeases(world.heldBy(agent.id)));
  return { ...agent, ended_at: nowMs };
}

/**
 * An agent that was quarantined in the backup this server was restored from may have been given orders since, or another
 * epoch: what is still to be told gets numbers it has not seen.
 */
function catchUp(
  world: World,
  agent: AgentRow,
  told: { readonly epoch: number; readonly seq: number },
  era: number,
): AgentRow {
  const ahead = told.epoch === agent.epoch ? told.seq > agent.order_seq : told.epoch > agent.epoch;
  if (!ahead || agent.era >= era || told.seq > BELIEVED_MAX || told.epoch > BELIEVED_MAX) return agent;
  let { seq } = told;
  for (const order of [...world.openOrders(agent.id)]) {
    seq += 1;
    world.putOrder(order, { ...order, epoch: told.epoch, seq, delivered_at: null });
  }
  return { ...agent, epoch: told.epoch, order_seq: seq };
}

/**
 * A process that took its `recover` order and has not made its keys within the order's life is told again, under a new
 * number: the old one counts as taken with it.
 */
function againRecover(world: World, agent: AgentRow, { request, nowMs }: BeatInput, taken: number): AgentRow {
  const row = world.openOrders(agent.id).find(({ type }) => type === "recover");
  if (row === undefined || row.delivered_at === null || row.seq > taken) return agent;
  const order = orderIn(row);
  const over = nowMs >= row.delivered_at + LIMITS.SIGNED_LIFETIME_S * 1000;
  if (order.type !== "recover" || order.inst !== request.beat.inst || !over) return agent;
  const seq = agent.order_seq + 1;
  world.putOrder(row, { ...row, seq, delivered_at: null });
  return { ...agent, order_seq: seq };
}

/** The end of an agent, for a process that has not heard of it and to which no order row speaks any more. */
async function lastWord(
  agent: AgentRow,
  { request, nowMs }: BeatInput,
  due: readonly OrderRow[],
  taken: number,
  ring: KeyRing,
): Promise<string[]> {
  const knows = request.agent.state === "terminal" || due.some(({ type }) => type === "terminal");
  if (agent.terminated_at === null || knows) return [];
  const { id: agentId, jkt, epoch } = agent;
  const order: Order = { type: "terminal", reason: agent.end_reason ?? "", grace_s: 0 };
  const seq = Math.max(agent.order_seq, taken) + 1;
  return [await signOrder({ agentId, jkt, epoch }, { seq, order }, ring, Math.floor(nowMs / 1000))];
}

function heldBody(
  orders: readonly string[],
  news: KeyRing | null,
  nowMs: number,
  { settings }: BeatDeps,
): string {
  const reply: HeldReply = {
    v: 1,
    standing: "held",
    time: nowMs,
    interval_s: settings.intervalS,
    orders: [...orders],
    ...(news === null ? {} : { trust: news.document }),
  };
  return JSON.stringify(reply);
}

const quietAftermath = (
  { accountId, agentId }: BeatInput,
  events: readonly AgentEvent[],
): BeatOutcome["aftermath"] => ({
  accountId,
  agentId,
  changedJobs: [],
  toldAttempts: [],
  standing: { kinds: [], free: 0, waits: false },
  anomalies: [],
  events,
});
