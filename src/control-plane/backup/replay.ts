import type { LedgerLine } from "../data/ledger.ts";
import { quarantine, type Stopped, terminate } from "../orders/new-order.ts";
import { agentById, saveAgent } from "../store/agents.ts";
import { addOrder } from "../store/orders.ts";
import { bar } from "../store/readmission.ts";
import type { Writer } from "../store/schema.ts";
import { leaveSlot } from "../store/slots.ts";

/** How much of what happened after the backup was said again to its database. */
export interface Replayed {
  readonly tokens: number;
  readonly agents: number;
  readonly keys: number;
}

/**
 * Tells a database that was brought back what must not be taken again: spent and revoked tokens, ended agents, retired
 * keys. What the backup knows already stays as it is. Keys of the Control Plane are the key ring's business, which reads
 * the ledger itself.
 */
export async function replayLedger(db: Writer, lines: readonly LedgerLine[]): Promise<Replayed> {
  const done = { tokens: 0, agents: 0, keys: 0 };
  for (const line of lines) {
    switch (line.type) {
      case "token_redeemed":
      case "token_revoked":
        done.tokens += await endToken(db, line);
        break;
      case "agent_ended":
        done.agents += await endAgent(db, line);
        break;
      case "key_retired":
        done.keys += await retireKey(db, line);
        break;
      case "key_revoked":
      case "trust":
      case "era":
        break;
    }
  }
  return done;
}

/**
 * A token that is unspent in the backup is revoked, whoever redeemed it: the agent it made is not in this database, and
 * nobody gets a second one out of it.
 */
async function endToken(
  db: Writer,
  { token, account, at }: Extract<LedgerLine, { type: "token_redeemed" | "token_revoked" }>,
): Promise<number> {
  const { numUpdatedRows } = await db
    .updateTable("activation_tokens")
    .set({ revoked_at: at })
    .where("account_id", "=", account)
    .where("id", "=", token)
    .where("redeemed_by", "is", null)
    .where("revoked_at", "is", null)
    .executeTakeFirst();
  return Number(numUpdatedRows);
}

/** An agent the backup knows as alive is told to end once more; one it does not know is barred, with its key. */
async function endAgent(
  db: Writer,
  { agent, account, jkt, at }: Extract<LedgerLine, { type: "agent_ended" }>,
): Promise<number> {
  await bar(db, { kind: "agent", name: agent, account_id: account, since: at });
  await bar(db, { kind: "key", name: jkt, account_id: account, since: at });
  const row = await agentById(db, account, agent);
  if (row === null || row.terminated_at !== null) return 0;
  await stop(db, terminate(row, [], 0, { by: "control-plane", reason: ENDED, nowMs: at }));
  return 1;
}

/**
 * A key that another one has followed: an agent the backup knows with the old key is quarantined, because the new one is
 * not in this database, and whoever still shows the old one was told to stop.
 */
async function retireKey(
  db: Writer,
  { agent, account, jkt, at }: Extract<LedgerLine, { type: "key_retired" }>,
): Promise<number> {
  await bar(db, { kind: "key", name: jkt, account_id: account, since: at });
  const row = await agentById(db, account, agent);
  if (row === null || row.jkt !== jkt || row.quarantined_at !== null) return 0;
  await stop(db, quarantine(row, [], { by: "control-plane", reason: REPLACED, nowMs: at }));
  return 1;
}

const ENDED = "it was ended after the backup this server was restored from";
const REPLACED = "its key was replaced after the backup this server was restored from";

async function stop(db: Writer, { agent, order }: Pick<Stopped, "agent" | "order">): Promise<void> {
  await saveAgent(db, agent);
  await leaveSlot(db, agent, false);
  await addOrder(db, order);
}
