import type { AccountId, AgentId } from "../../protocol/ids.ts";
import type { Reader, RetiredKeyRow, Writer } from "./schema.ts";

export async function addRetiredKey(db: Writer, key: RetiredKeyRow): Promise<void> {
  await db.insertInto("retired_keys").values(key).execute();
}

/** Keys agents had before, by thumbprint, whatever their account: the caller holds their proof. */
export async function retiredKeys(
  db: Reader,
  jkts: readonly string[],
): Promise<ReadonlyMap<string, RetiredKeyRow>> {
  if (jkts.length === 0) return new Map();
  const rows = await db
    .selectFrom("retired_keys")
    .selectAll()
    .where("jkt", "in", [...new Set(jkts)])
    .execute();
  return new Map(rows.map((row) => [row.jkt, row]));
}

/** Keys the agent had before it was recovered, the latest first. */
export async function retiredKeysOf(
  db: Reader,
  accountId: AccountId,
  agentId: AgentId,
): Promise<RetiredKeyRow[]> {
  return await db
    .selectFrom("retired_keys")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("agent_id", "=", agentId)
    .orderBy("retired_at", "desc")
    .execute();
}
