import { sql } from "kysely";
import type { AccountId, AgentId } from "../../protocol/ids.ts";
import type { InstanceRow, Reader, Writer } from "./schema.ts";

/** So many processes of one agent are remembered in each of its epochs, and so many of them from one address. */
const KEPT = 48;
const KEPT_OF_ADDRESS = 16;

/**
 * Notes that a process spoke: all it last told, and how often it was heard. Who speaks under a new name each time pushes
 * out others of that kind at that address, not one that has been heard more often or elsewhere.
 */
export async function noteInstance(db: Writer, instance: InstanceRow): Promise<void> {
  const { agent_id, inst, account_id: _, first_at: __, beats, ...last } = instance;
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
  const surplus = surplusOf(await heardIn(db, instance), inst);
  if (surplus.length === 0) return;
  await db
    .deleteFrom("instances")
    .where("account_id", "=", instance.account_id)
    .where("agent_id", "=", agent_id)
    .where("inst", "in", surplus)
    .execute();
}

type Heard = Pick<InstanceRow, "inst" | "address">;

/** The processes of the same agent and epoch, the one heard most often first. */
async function heardIn(db: Writer, { account_id, agent_id, epoch }: InstanceRow): Promise<Heard[]> {
  return await db
    .selectFrom("instances")
    .select(["inst", "address"])
    .where("account_id", "=", account_id)
    .where("agent_id", "=", agent_id)
    .where("epoch", "=", epoch)
    .orderBy("beats", "desc")
    .orderBy("last_at", "desc")
    .execute();
}

/** Those to forget; never the one that speaks. Pure. */
function surplusOf(heard: readonly Heard[], speaking: string): string[] {
  const first = heard.filter(({ inst }) => inst === speaking);
  const kept = new Map<string, number>();
  let all = 0;
  return [...first, ...heard.filter(({ inst }) => inst !== speaking)].flatMap(({ inst, address }) => {
    const here = kept.get(address) ?? 0;
    if (here >= KEPT_OF_ADDRESS || all >= KEPT) return [inst];
    kept.set(address, here + 1);
    all += 1;
    return [];
  });
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
