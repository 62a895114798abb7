import type { Plan } from "../../protocol/api.ts";
import type { AccountId, AgentId, JobId, Sha256 } from "../../protocol/ids.ts";
import type { JobLimits } from "../../protocol/scope.ts";
import { SETTINGS } from "../settings.ts";
import { plansOf } from "../store/accounts.ts";
import { type AgentRecord, agentRecords, saveBeats, saveLicense } from "../store/agents.ts";
import { type Finding, recordFinding } from "../store/anomalies.ts";
import { changeJob, heldJobs } from "../store/jobs.ts";
import { expectLog, openLog } from "../store/logs.ts";
import { recordProofs } from "../store/proofs.ts";
import { storeReceipts } from "../store/receipts.ts";
import type { JobRow, ReceiptRow, Writer } from "../store/schema.ts";
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

/**
 * The rows a group of heartbeats is decided upon, read at once and written at once. Each beat leaves it as the next one
 * of the group must see it.
 */
export class World {
  readonly plans: ReadonlyMap<AccountId, Plan>;
  /** Names of proofs nobody had shown before this group. */
  readonly freshProofs: ReadonlySet<string>;
  private readonly agents: Map<AgentId, AgentRecord>;
  private readonly jobs = new Map<JobId, JobRow>();
  private readonly touchedAgents = new Set<AgentId>();
  private readonly relicensed = new Set<AgentId>();
  private readonly touchedJobs = new Set<JobId>();
  private readonly leased: JobRow[] = [];
  private readonly receipts: ReceiptRow[] = [];
  private readonly toldLogs: ToldLog[] = [];
  private readonly findings: Finding[] = [];

  private constructor(
    agents: Map<AgentId, AgentRecord>,
    plans: ReadonlyMap<AccountId, Plan>,
    freshProofs: ReadonlySet<string>,
    held: readonly JobRow[],
  ) {
    this.agents = agents;
    this.plans = plans;
    this.freshProofs = freshProofs;
    for (const job of held) this.jobs.set(job.id, job);
  }

  /** Reads what the beats need, and writes their proofs down. */
  static async read(db: Writer, inputs: readonly BeatInput[]): Promise<World> {
    const fresh = await recordProofs(db, inputs);
    const agents = await agentRecords(db, inputs);
    const plans = await plansOf(db, [...new Set(inputs.map(({ accountId }) => accountId))]);
    return new World(agents, plans, fresh, await heldJobs(db, inputs));
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

  putAgent(record: AgentRecord, licenseChanged: boolean): void {
    this.agents.set(record.agent.id, record);
    this.touchedAgents.add(record.agent.id);
    if (licenseChanged) this.relicensed.add(record.agent.id);
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

  find(finding: Finding): void {
    this.findings.push(finding);
  }

  async write(db: Writer): Promise<void> {
    const records = [...this.touchedAgents].flatMap((id) => this.agents.get(id) ?? []);
    await saveBeats(
      db,
      records.map(({ beat }) => beat),
    );
    for (const { agent } of records.filter(({ agent }) => this.relicensed.has(agent.id))) {
      const { license, license_terms, license_iat, license_exp, weak } = agent;
      const columns = { license, license_terms, license_iat, license_exp, weak };
      await saveLicense(db, agent.account_id, agent.id, columns);
    }
    for (const id of this.touchedJobs) await this.writeJob(db, id);
    await storeReceipts(db, this.receipts);
    for (const job of this.leased) await writeOpenedLog(db, job);
    for (const log of this.toldLogs) await expectLog(db, log.accountId, log, log);
    for (const finding of this.findings) await recordFinding(db, finding);
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
