import type { ExpressionBuilder } from "kysely";
import type { AccountId, AgentId, JobId, Sha256 } from "../../protocol/ids.ts";
import type { LogRow, Reader, Tables, Writer } from "./schema.ts";

/** The one stream jobs have today. */
export const MAIN_STREAM = "main";

export interface LogKey {
  readonly job: JobId;
  readonly attempt: number;
  readonly stream: string;
}

/**
 * Lets the agent append to the log of an attempt, from the moment it has the lease. What another one, who handed the same
 * attempt back, has written is not part of it.
 */
export async function openLog(
  db: Writer,
  accountId: AccountId,
  log: {
    readonly job: JobId;
    readonly attempt: number;
    readonly agentId: AgentId;
    readonly limitBytes: number;
  },
): Promise<void> {
  await db
    .insertInto("logs")
    .values({
      job_id: log.job,
      attempt: log.attempt,
      stream: MAIN_STREAM,
      account_id: accountId,
      agent_id: log.agentId,
      size: 0,
      limit_bytes: log.limitBytes,
      expected_size: null,
      expected_sha256: null,
      verified: null,
      receipt_at: null,
    })
    .onConflict((conflict) =>
      conflict
        .columns(["job_id", "attempt", "stream"])
        .doUpdateSet((eb) => ({
          agent_id: eb.ref("excluded.agent_id"),
          size: 0,
          limit_bytes: eb.ref("excluded.limit_bytes"),
          expected_size: null,
          expected_sha256: null,
          verified: null,
          receipt_at: null,
        }))
        .whereRef("logs.agent_id", "!=", "excluded.agent_id" as "logs.agent_id"),
    )
    .execute();
}

export async function logRow(db: Reader, accountId: AccountId, key: LogKey): Promise<LogRow | null> {
  const row = await db.selectFrom("logs").selectAll().where(isLog(accountId, key)).executeTakeFirst();
  return row ?? null;
}

/** The logs of several jobs of one account, every attempt. */
export async function logsOfJobs(
  db: Reader,
  accountId: AccountId,
  jobs: readonly JobId[],
): Promise<LogRow[]> {
  if (jobs.length === 0) return [];
  return await db
    .selectFrom("logs")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("job_id", "in", [...jobs])
    .execute();
}

/** Acknowledges bytes that are on disk. */
export async function setLogSize(db: Writer, accountId: AccountId, key: LogKey, size: number): Promise<void> {
  await db.updateTable("logs").set({ size }).where(isLog(accountId, key)).execute();
}

/** Notes what the receipt says the whole log is. */
export async function expectLog(
  db: Writer,
  accountId: AccountId,
  log: { readonly job: JobId; readonly attempt: number; readonly agentId: AgentId },
  expected: { readonly size: number; readonly sha256: Sha256 | null; readonly nowMs: number },
): Promise<void> {
  await db
    .updateTable("logs")
    .set({ expected_size: expected.size, expected_sha256: expected.sha256, receipt_at: expected.nowMs })
    .where("account_id", "=", accountId)
    .where("job_id", "=", log.job)
    .where("attempt", "=", log.attempt)
    .where("agent_id", "=", log.agentId)
    .where("receipt_at", "is", null)
    .execute();
}

export async function setLogVerified(
  db: Writer,
  accountId: AccountId,
  key: LogKey,
  verified: boolean,
): Promise<void> {
  await db
    .updateTable("logs")
    .set({ verified: verified ? 1 : 0 })
    .where(isLog(accountId, key))
    .execute();
}

const isLog =
  (accountId: AccountId, { job, attempt, stream }: LogKey) =>
  (eb: ExpressionBuilder<Tables, "logs">) =>
    eb.and({ account_id: accountId, job_id: job, attempt, stream });

/** Whole logs of every account that were not held against their receipts yet. */
export async function unverifiedLogs(db: Reader): Promise<LogRow[]> {
  return await db
    .selectFrom("logs")
    .selectAll()
    .where("verified", "is", null)
    .where("expected_sha256", "is not", null)
    .whereRef("size", "=", "expected_size")
    .execute();
}
