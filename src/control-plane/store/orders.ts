import type { AccountId, AgentId } from "../../protocol/ids.ts";
import type { OrderRow, Reader, Writer } from "./schema.ts";

/** So many of an agent's orders are shown. */
const SHOWN = 50;

export async function addOrder(db: Writer, order: OrderRow): Promise<void> {
  await db.insertInto("orders").values(order).execute();
}

/** Orders the agents are still to take, of those that belong to the account they are asked for with, by number. */
export async function openOrders(
  db: Reader,
  wanted: readonly { readonly accountId: AccountId; readonly agentId: AgentId }[],
): Promise<OrderRow[]> {
  if (wanted.length === 0) return [];
  const accountOf = new Map(wanted.map(({ accountId, agentId }) => [agentId, accountId]));
  const rows = await db
    .selectFrom("orders")
    .selectAll()
    .where("state", "=", "open")
    .where("account_id", "in", [...new Set(accountOf.values())])
    .where("agent_id", "in", [...accountOf.keys()])
    .orderBy("seq")
    .execute();
  return rows.filter((order) => accountOf.get(order.agent_id) === order.account_id);
}

/** Every open order of the account, by number. */
export async function openOrdersOf(db: Reader, accountId: AccountId): Promise<OrderRow[]> {
  return await db
    .selectFrom("orders")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("state", "=", "open")
    .orderBy("seq")
    .execute();
}

/** The orders last given to the agent, newest first. */
export async function lastOrders(db: Reader, accountId: AccountId, agentId: AgentId): Promise<OrderRow[]> {
  return await db
    .selectFrom("orders")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("agent_id", "=", agentId)
    .orderBy("epoch", "desc")
    .orderBy("seq", "desc")
    .limit(SHOWN)
    .execute();
}

/** The order that ended the agent, whatever has become of it; null when there is none. */
export async function terminalOrder(
  db: Reader,
  accountId: AccountId,
  agentId: AgentId,
): Promise<OrderRow | null> {
  const row = await db
    .selectFrom("orders")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("agent_id", "=", agentId)
    .where("type", "=", "terminal")
    .orderBy("epoch", "desc")
    .orderBy("seq", "desc")
    .limit(1)
    .executeTakeFirst();
  return row ?? null;
}

/** Writes what has become of an order. `at` names it as it was; its number may be a new one. */
export async function saveOrder(db: Writer, at: OrderKey, order: OrderRow): Promise<void> {
  const { epoch, seq, delivered_at, state, settled_at } = order;
  await db
    .updateTable("orders")
    .set({ epoch, seq, delivered_at, state, settled_at })
    .where("account_id", "=", order.account_id)
    .where("agent_id", "=", order.agent_id)
    .where("epoch", "=", at.epoch)
    .where("seq", "=", at.seq)
    .execute();
}

export type OrderKey = Pick<OrderRow, "epoch" | "seq">;
