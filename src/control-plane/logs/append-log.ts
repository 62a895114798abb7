import { fault } from "../../fault/fault.ts";
import type { AccountId } from "../../protocol/ids.ts";
import type { Services } from "../api/services.ts";
import type { AgentPrincipal } from "../auth/principal.ts";
import { jobAfter } from "../queue/job-table.ts";
import { SETTINGS } from "../settings.ts";
import { changeJob, jobById } from "../store/jobs.ts";
import { type LogKey, logRow, setLogSize } from "../store/logs.ts";
import type { LogRow, Writer } from "../store/schema.ts";
import { verifyLog } from "./verify-log.ts";

export interface LogChunk {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/**
 * Appends to the log of an attempt and answers how many bytes are stored, durably. Bytes that are stored already must be
 * the same. Only the agent that had the attempt's lease may; after its receipt no further than the receipt says.
 * Throws LEASE_NOT_HELD, API_OFFSET_MISMATCH, API_BODY_OVERSIZED.
 */
export function appendLog(
  agent: AgentPrincipal,
  key: LogKey,
  chunk: LogChunk,
  services: Services,
): Promise<number> {
  const name = `${key.job}.${key.attempt}.${key.stream}`;
  return services.logTurns.run(name, () => append(agent, key, chunk, services));
}

async function append(
  { accountId, agentId }: AgentPrincipal,
  key: LogKey,
  { offset, bytes }: LogChunk,
  services: Services,
): Promise<number> {
  const { store, logs, watch } = services;
  const row = await logRow(store.db, accountId, key);
  if (row === null || row.agent_id !== agentId || isClosed(row, services.nowMs())) {
    throw fault("LEASE_NOT_HELD");
  }
  const end = offset + bytes.length;
  const limit = row.expected_size ?? row.limit_bytes;
  if (end > limit) throw fault("API_BODY_OVERSIZED", { limit });
  const mismatch = fault("API_OFFSET_MISMATCH", { offset, stored: row.size });
  if (offset > row.size) throw mismatch;
  const name = { ...key, account: accountId };
  const known = Math.min(bytes.length, row.size - offset);
  const before = await logs.read(name, offset, known);
  if (!Buffer.from(before).equals(bytes.subarray(0, known))) throw mismatch;
  if (end <= row.size) return row.size;
  await logs.write(name, row.size, bytes.subarray(known));
  await store.write(async (db) => {
    await setLogSize(db, accountId, key, end);
    if (row.size === 0) await noteStart(db, accountId, key, services.nowMs());
  });
  watch.tell(key.job);
  if (end === row.expected_size) await verifyLog(accountId, key, services);
  return end;
}

async function noteStart(db: Writer, accountId: AccountId, key: LogKey, nowMs: number): Promise<void> {
  const job = await jobById(db, accountId, key.job);
  if (job === null || job.attempt !== key.attempt) return;
  const change = jobAfter(job, { type: "logged", nowMs });
  if (change !== null) await changeJob(db, accountId, key.job, change);
}

const isClosed = ({ receipt_at }: LogRow, nowMs: number): boolean =>
  receipt_at !== null && nowMs - receipt_at > SETTINGS.LOG_GRACE_MS;
