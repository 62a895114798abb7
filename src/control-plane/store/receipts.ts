import type { AccountId, AgentId, JobId, Sha256 } from "../../protocol/ids.ts";
import type { Reader, ReceiptRow, Writer } from "./schema.ts";

/** Stores receipts; one that is there already stays as it is. */
export async function storeReceipts(db: Writer, receipts: readonly ReceiptRow[]): Promise<void> {
  if (receipts.length === 0) return;
  await db
    .insertInto("receipts")
    .values([...receipts])
    .onConflict((conflict) => conflict.column("sha256").doNothing())
    .execute();
}

/** The receipt that decided the job, by the digest its row names. */
export async function receiptOfJob(
  db: Reader,
  accountId: AccountId,
  jobId: JobId,
  sha256: Sha256 | null,
): Promise<ReceiptRow | null> {
  if (sha256 === null) return null;
  const row = await db
    .selectFrom("receipts")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("job_id", "=", jobId)
    .where("sha256", "=", sha256)
    .executeTakeFirst();
  return row ?? null;
}

/** SHA-256s of the agent's receipts numbered `seq`: one, unless it signed two with one number. */
export async function receiptsNumbered(
  db: Reader,
  accountId: AccountId,
  agentId: AgentId,
  seq: number,
): Promise<Sha256[]> {
  const rows = await db
    .selectFrom("receipts")
    .select("sha256")
    .where("account_id", "=", accountId)
    .where("agent_id", "=", agentId)
    .where("seq", "=", seq)
    .execute();
  return rows.map(({ sha256 }) => sha256);
}

/** The last of the agent's receipts that is stored; null when there is none. */
export async function lastReceipt(
  db: Reader,
  accountId: AccountId,
  agentId: AgentId,
): Promise<{ readonly seq: number; readonly sha256: Sha256 } | null> {
  const row = await db
    .selectFrom("receipts")
    .select(["seq", "sha256"])
    .where("account_id", "=", accountId)
    .where("agent_id", "=", agentId)
    .orderBy("seq", "desc")
    .orderBy("received_at", "desc")
    .limit(1)
    .executeTakeFirst();
  return row ?? null;
}
