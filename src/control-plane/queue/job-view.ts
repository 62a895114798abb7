import { isFault } from "../../fault/fault.ts";
import type { JobSummary, JobView } from "../../protocol/api.ts";
import { FIRST_PREV_SHA256, type ReceiptClaims } from "../../protocol/receipt.ts";
import type { Ed25519Jwk } from "../../protocol/scalars.ts";
import { openReceipt } from "../../trust/receipt.ts";
import { agentById } from "../store/agents.ts";
import { logsOfJobs, MAIN_STREAM } from "../store/logs.ts";
import { receiptOfJob, receiptsNumbered } from "../store/receipts.ts";
import { retiredKeysOf } from "../store/retired-keys.ts";
import type { JobRow, LogRow, Reader, ReceiptRow } from "../store/schema.ts";

/** Jobs of one account as they are shown, their logs' lengths included. */
export async function summaries(db: Reader, jobs: readonly JobRow[]): Promise<JobSummary[]> {
  const [first] = jobs;
  if (first === undefined) return [];
  const logs = await logsOfJobs(
    db,
    first.account_id,
    jobs.map(({ id }) => id),
  );
  return jobs.map((job) => summaryOf(job, logOf(job, logs)));
}

/** One job with the receipt that decided it, verified as it stands in the database now. */
export async function jobView(db: Reader, job: JobRow): Promise<JobView> {
  const logs = await logsOfJobs(db, job.account_id, [job.id]);
  const row = await receiptOfJob(db, job.account_id, job.id, job.receipt_sha256);
  const receipt = row === null ? null : await receiptView(db, row);
  return { ...summaryOf(job, logOf(job, logs)), receipt };
}

function summaryOf(job: JobRow, log: LogRow | null): JobSummary {
  return {
    id: job.id,
    account_id: job.account_id,
    kind: job.kind,
    state: job.state,
    attempt: job.attempt,
    agent_id: job.agent_id,
    priority: job.priority,
    step: job.step,
    log_bytes: log?.size ?? 0,
    log_verified: log?.verified == null ? null : log.verified === 1,
    outcome: job.outcome,
    reason: job.reason,
    cancel_reason: job.cancel_reason,
    created_at: job.created_at,
    started_at: job.started_at,
    finished_at: job.finished_at,
  };
}

const logOf = (job: JobRow, logs: readonly LogRow[]): LogRow | null =>
  logs.find(
    ({ job_id, attempt, stream }) => job_id === job.id && attempt === job.attempt && stream === MAIN_STREAM,
  ) ?? null;

/** The receipt as it is stored, checked anew: its signature under the agent's key, and its place in the agent's chain. */
async function receiptView(db: Reader, row: ReceiptRow): Promise<NonNullable<JobView["receipt"]>> {
  const opened = await openUnderAny(row.jws, await keysOfAgent(db, row));
  const claims = opened?.claims ?? unverifiedClaims(row.jws);
  const chain = await chainOf(db, row, claims);
  const verified = opened !== null && opened.sha256 === row.sha256 && chain !== "broken";
  const { sha256, jws } = row;
  return { sha256, jws, verified, chain, claims };
}

/** Every identity key the agent has had, the present one first. */
async function keysOfAgent(db: Reader, { account_id, agent_id }: ReceiptRow): Promise<Ed25519Jwk[]> {
  const agent = await agentById(db, account_id, agent_id);
  if (agent === null) return [];
  const retired = await retiredKeysOf(db, account_id, agent_id);
  return [agent, ...retired].map(({ identity_x }) => ({ kty: "OKP", crv: "Ed25519", x: identity_x }));
}

async function openUnderAny(jws: string, keys: readonly Ed25519Jwk[]) {
  for (const jwk of keys) {
    const opened = await openOrNull(jws, jwk);
    if (opened !== null) return opened;
  }
  return null;
}

async function openOrNull(jws: string, jwk: Ed25519Jwk) {
  try {
    return await openReceipt(jws, jwk);
  } catch (error) {
    if (isFault(error)) return null; // shown as not verified
    throw error;
  }
}

async function chainOf(
  db: Reader,
  row: ReceiptRow,
  { seq, prev_sha256 }: ReceiptClaims,
): Promise<"intact" | "unknown" | "broken"> {
  if (seq === 1) return prev_sha256 === FIRST_PREV_SHA256 ? "intact" : "broken";
  const before = await receiptsNumbered(db, row.account_id, row.agent_id, seq - 1);
  if (before.length === 0) return "unknown";
  return before.includes(prev_sha256) ? "intact" : "broken";
}

/** What a text says that does not verify any more: it did when it was stored, and is shown as what it is. */
const unverifiedClaims = (jws: string): ReceiptClaims =>
  JSON.parse(Buffer.from(jws.split(".")[1] ?? "", "base64url").toString()) as ReceiptClaims;
