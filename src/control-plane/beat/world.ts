import type { AnomalyKind, Plan } from "../../protocol/api.ts";
import type { AccountId, AgentId, JobId, RandomBytes, Sha256 } from "../../protocol/ids.ts";
import type { JobLimits } from "../../protocol/scope.ts";
import { SETTINGS } from "../settings.ts";
import { plansOf } from "../store/accounts.ts";
import { type AgentRecord, agentRecords, saveAgent, saveBeats } from "../store/agents.ts";
import { type Finding, recordFinding } from "../store/anomalies.ts";
import { noteInstance } from "../store/instances.ts";
import { changeJob, heldJobs } from "../store/jobs.ts";
import { expectLog, openLog } from "../store/logs.ts";
import { addOrder, openOrders, saveOrder } from "../store/orders.ts";
import { recordProofs } from "../store/proofs.ts";
import { storeReceipts } from "../store/receipts.ts";
import { retiredKeys } from "../store/retired-keys.ts";
import type { InstanceRow, JobRow, OrderRow, ReceiptRow, RetiredKeyRow, Writer } from "../store/schema.ts";
import type { BeatInput } from "./beat-input.ts";

/** What a receipt says the log of its attempt is. */
export interface ToldLog {
  readonly accountId: AccountId;
  readonly job: JobId;
  readonly attempt: number;
  readonly agentId: AgentId;
  readonly size: number;
  readonly sha256: Sha256 | null;
  readonly nowMs: number;
}

interface Read {
  readonly agents: Map<AgentId, AgentRecord>;
  readonly plans: ReadonlyMap<AccountId, Plan>;
  readonly freshProofs: ReadonlySet<string>;
  readonly retired: ReadonlyMap<string, RetiredKeyRow>;
  readonly orders: readonly OrderRow[];
  readonly jobs: readonly JobRow[];
}

/**
 * The rows a group of heartbeats is decided upon, read at once and written at once. Each beat leaves it as the next one
 * of the group must see it.
 */
export class World {
  readonly plans: ReadonlyMap<AccountId, Plan>;
  /** Names of proofs nobody had shown before this group. */
  readonly freshProofs: ReadonlySet<string>;
  /** Keys shown that an agent had before it was recovered. */
  readonly retired: ReadonlyMap<string, RetiredKeyRow>;
  private readonly agents: Map<AgentId, AgentRecord>;
  private readonly jobs = new Map<JobId, JobRow>();
  private readonly orders = new Map<AgentId, OrderRow[]>();
  private readonly touchedAgents = new Set<AgentId>();
  private readonly changedAgents = new Set<AgentId>();
  private readonly touchedJobs = new Set<JobId>();
  private readonly leased: JobRow[] = [];
  private readonly receipts: ReceiptRow[] = [];
  private readonly toldLogs: ToldLog[] = [];
  /** What happens to orders, in its order: a number may be freed by one step and taken by the next. */
  private readonly orderSteps: ((db: Writer) => Promise<void>)[] = [];
  private readonly instances: InstanceRow[] = [];

  private constructor(read: Read) {
    this.agents = read.agents;
    this.plans = read.plans;
    this.freshProofs = read.freshProofs;
    this.retired = read.retired;
    for (const job of read.jobs) this.jobs.set(job.id, job);
    for (const order of read.orders) this.ordersOf(order.agent_id).push(order);
  }

  /** Reads what the beats need, and writes their proofs down. */
  static async read(db: Writer, inputs: readonly BeatInput[]): Promise<World> {
    const freshProofs = await recordProofs(db, inputs);
    const agents = await agentRecords(db, inputs);
    const plans = await plansOf(db, [...new Set(inputs.map(({ accountId }) => accountId))]);
    const foreign = inputs.filter(({ agentId, jkt }) => agents.get(agentId)?.agent.jkt !== jkt);
    return new World({
      agents,
      plans,
      freshProofs,
      retired: await retiredKeys(
        db,
        foreign.map(({ jkt }) => jkt),
      ),
      orders: await openOrders(db, inputs),
      jobs: await heldJobs(db, inputs),
    });
  }

  agent(id: AgentId): AgentRecord | undefined {
    return this.agents.get(id);
  }

  /** Jobs of which the agent holds the current attempt. */
  heldBy(id: AgentId): JobRow[] {
    return [...this.jobs.values()].filter(
      ({ agent_id, state }) => agent_id === id && state !== "queued" && state !== "finished",
    );
  }

  /** The account's queued jobs: `rows` from the database, as earlier beats of the group left them. */
  queuedOf(accountId: AccountId, rows: readonly JobRow[]): JobRow[] {
    const known = [...this.jobs.values()].filter(({ account_id }) => account_id === accountId);
    const unknown = rows.filter(({ id }) => !this.jobs.has(id));
    return [...known, ...unknown].filter(({ state }) => state === "queued");
  }

  /** How many rows of a query for queued jobs may turn out to be taken already. */
  get takenAtMost(): number {
    return this.touchedJobs.size;
  }

  putJob(job: JobRow): void {
    this.jobs.set(job.id, job);
    this.touchedJobs.add(job.id);
  }

  /** `changed`: the agent itself, not only what its beats leave. */
  putAgent(record: AgentRecord, changed: boolean): void {
    this.agents.set(record.agent.id, record);
    this.touchedAgents.add(record.agent.id);
    if (changed) this.changedAgents.add(record.agent.id);
  }

  /** The agent's open orders, by number. */
  openOrders(id: AgentId): readonly OrderRow[] {
    return this.ordersOf(id);
  }

  giveOrder(order: OrderRow): void {
    this.ordersOf(order.agent_id).push(order);
    this.orderSteps.push((db) => addOrder(db, order));
  }

  /** Notes what has become of an open order; `next` may have another number. */
  putOrder(before: OrderRow, next: OrderRow): void {
    const orders = this.ordersOf(before.agent_id);
    const rest = orders.filter(({ seq }) => seq !== before.seq);
    const open = next.state === "open" ? [...rest, next] : rest;
    this.orders.set(
      before.agent_id,
      open.sort((a, b) => a.seq - b.seq),
    );
    this.orderSteps.push((db) => saveOrder(db, before, next));
  }

  putReceipt(receipt: ReceiptRow): void {
    this.receipts.push(receipt);
  }

  /** The attempt has a lease: its agent may write its log from now on. */
  openLog(job: JobRow): void {
    this.leased.push(job);
  }

  tellLog(log: ToldLog): void {
    this.toldLogs.push(log);
  }

  noteInstance(instance: InstanceRow): void {
    this.instances.push(instance);
  }

  async write(db: Writer): Promise<void> {
    const records = [...this.touchedAgents].flatMap((id) => this.agents.get(id) ?? []);
    await saveBeats(
      db,
      records.map(({ beat }) => beat),
    );
    for (const { agent } of records) if (this.changedAgents.has(agent.id)) await saveAgent(db, agent);
    for (const step of this.orderSteps) await step(db);
    for (const id of this.touchedJobs) await this.writeJob(db, id);
    await storeReceipts(db, this.receipts);
    for (const job of this.leased) await writeOpenedLog(db, job);
    for (const log of this.toldLogs) await expectLog(db, log.accountId, log, log);
    for (const instance of this.instances) await noteInstance(db, instance);
  }

  private ordersOf(id: AgentId): OrderRow[] {
    const orders = this.orders.get(id) ?? [];
    this.orders.set(id, orders);
    return orders;
  }

  private async writeJob(db: Writer, id: JobId): Promise<void> {
    const job = this.jobs.get(id);
    if (job === undefined) return;
    const { state, attempt, agent_id, envelope_sha256, offered_at, lease_until, rejections } = job;
    const { step, outcome, reason, receipt_sha256, queued_at, started_at, finished_at } = job;
    await changeJob(db, job.account_id, id, {
      ...{ state, attempt, agent_id, envelope_sha256, offered_at, lease_until, rejections },
      ...{ step, outcome, reason, receipt_sha256, queued_at, started_at, finished_at },
    });
  }
}

/** Writes findings down at once; answers those that opened a case. */
export async function recordFindings(
  db: Writer,
  findings: readonly Finding[],
  random: RandomBytes,
): Promise<{ id: string; kind: AnomalyKind; what: string }[]> {
  const opened: { id: string; kind: AnomalyKind; what: string }[] = [];
  for (const finding of findings) {
    const { id, fresh } = await recordFinding(db, finding, random);
    if (fresh) opened.push({ id, kind: finding.kind, what: finding.evidence.what });
  }
  return opened;
}

async function writeOpenedLog(db: Writer, job: JobRow): Promise<void> {
  if (job.agent_id === null) return;
  const { output_bytes } = JSON.parse(job.limits) as JobLimits;
  await openLog(db, job.account_id, {
    job: job.id,
    attempt: job.attempt,
    agentId: job.agent_id,
    limitBytes: output_bytes + SETTINGS.LOG_EXTRA_BYTES,
  });
}
