import { sql } from "kysely";
import type { AccountId, AgentId } from "../../protocol/ids.ts";
import type { InstanceRow, Reader, Writer } from "./schema.ts";

/** So many processes of one agent are remembered in each of its epochs. */
const KEPT = 32;

/**
 * Notes that a process spoke: all it last told, and how often it was heard. Who speaks under a new name each time pushes
 * out others of that kind, not one that has been heard more often.
 */
export async function noteInstance(db: Writer, instance: InstanceRow): Promise<void> {
  const { agent_id, inst, account_id: _, first_at: __, beats, ...last } = instance;
  const { epoch } = last;
  await db
    .insertInto("instances")
    .values(instance)
    .onConflict((conflict) =>
      conflict.columns(["agent_id", "inst"]).doUpdateSet({
        ...last,
        seal_ctr: larger("seal_ctr", last.seal_ctr),
        head_seq: larger("head_seq", last.head_seq),
        beats: sql<number>`instances.beats + ${beats}`,
      }),
    )
    .execute();
  const surplus = await db
    .selectFrom("instances")
    .select("inst")
    .where("agent_id", "=", agent_id)
    .where("epoch", "=", epoch)
    .where("inst", "!=", inst)
    .orderBy("beats", "desc")
    .orderBy("last_at", "desc")
    .offset(KEPT - 1)
    .limit(KEPT)
    .execute();
  if (surplus.length === 0) return;
  await db
    .deleteFrom("instances")
    .where("agent_id", "=", agent_id)
    .where(
      "inst",
      "in",
      surplus.map((row) => row.inst),
    )
    .execute();
}

/** The larger of a column's value and another; SQLite and PostgreSQL have no word in common for it. */
function larger(column: "seal_ctr" | "head_seq", value: number) {
  const known = sql.ref<number>(`instances.${column}`);
  return sql<number>`case when ${known} > ${value} then ${known} else ${value} end`;
}

/** The processes the agent was seen as, the one first seen first. */
export async function instancesOf(
  db: Reader,
  accountId: AccountId,
  agentId: AgentId,
): Promise<InstanceRow[]> {
  return await db
    .selectFrom("instances")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("agent_id", "=", agentId)
    .orderBy("first_at")
    .orderBy("inst")
    .execute();
}

/** Forgets who spoke for the agent in epochs before this one. */
export async function forgetInstances(
  db: Writer,
  accountId: AccountId,
  agentId: AgentId,
  beforeEpoch: number,
): Promise<void> {
  await db
    .deleteFrom("instances")
    .where("account_id", "=", accountId)
    .where("agent_id", "=", agentId)
    .where("epoch", "<", beforeEpoch)
    .execute();
}
