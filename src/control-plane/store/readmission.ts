import type { AccountId, AgentId } from "../../protocol/ids.ts";
import type { AgentRow, Reader, Writer } from "./schema.ts";

/** Notes an agent id or a key that ended after the backup this database comes from. */
export async function bar(
  db: Writer,
  row: {
    readonly kind: "agent" | "key";
    readonly name: string;
    readonly account_id: AccountId;
    readonly since: number;
  },
): Promise<void> {
  await db
    .insertInto("barred")
    .values(row)
    .onConflict((conflict) => conflict.columns(["kind", "name"]).doNothing())
    .execute();
}

/** Whether the agent id or the key is over for good, whoever's it was. */
export async function isBarred(db: Reader, agent: string, jkt: string): Promise<boolean> {
  const row = await db
    .selectFrom("barred")
    .select("name")
    .where((eb) =>
      eb.or([
        eb.and([eb("kind", "=", "agent"), eb("name", "=", agent)]),
        eb.and([eb("kind", "=", "key"), eb("name", "=", jkt)]),
      ]),
    )
    .executeTakeFirst();
  return row !== undefined;
}

/** Whether there is such an account: a license names one, and it may be older than this database. */
export async function accountExists(db: Reader, accountId: AccountId): Promise<boolean> {
  const row = await db.selectFrom("accounts").select("id").where("id", "=", accountId).executeTakeFirst();
  return row !== undefined;
}

/** The agent of this id, whatever its account: the caller holds a license that names it. */
export async function agentOfAnyAccount(db: Reader, id: AgentId): Promise<AgentRow | null> {
  const row = await db.selectFrom("agents").selectAll().where("id", "=", id).executeTakeFirst();
  return row ?? null;
}

/** Agents of the account that an admin has not confirmed yet. */
export async function unconfirmedCount(db: Reader, accountId: AccountId): Promise<number> {
  const row = await db
    .selectFrom("agents")
    .select((eb) => eb.fn.countAll<number>().as("agents"))
    .where("account_id", "=", accountId)
    .where("unconfirmed_since", "is not", null)
    .executeTakeFirstOrThrow();
  return Number(row.agents);
}

/** An admin has looked: the agent waits for a slot like any other. False when nobody had to confirm it. */
export async function confirmAgent(
  db: Writer,
  accountId: AccountId,
  id: AgentId,
  nowMs: number,
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable("agents")
    .set({ unconfirmed_since: null, waiting_since: nowMs })
    .where("account_id", "=", accountId)
    .where("id", "=", id)
    .where("unconfirmed_since", "is not", null)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}
