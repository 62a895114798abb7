import type { Kysely } from "kysely";
import { base62, base62Bytes } from "../../../protocol/ids.ts";
import type { Tables } from "../schema.ts";

/** Orders, quarantine, the processes an agent was seen as, keys it had before, and anomalies with a course of their own. */
export async function lifecycle(db: Kysely<unknown>): Promise<void> {
  await agentsAndBeats(db);
  await db.schema.alterTable("jobs").addColumn("cancel_reason", "text").execute();
  await newTables(db);
  await anomalies(db as Kysely<Tables>);
}

async function agentsAndBeats(db: Kysely<unknown>): Promise<void> {
  const agents = (name: string, type: "bigint" | "text") =>
    db.schema.alterTable("agents").addColumn(name, type).execute();
  const counted = (table: string, name: string, start: number) =>
    db.schema
      .alterTable(table)
      .addColumn(name, "bigint", (c) => c.notNull().defaultTo(start))
      .execute();
  await counted("agents", "era", 1);
  await counted("agents", "order_seq", 0);
  await agents("quarantined_at", "bigint");
  await agents("quarantine_reason", "text");
  await agents("terminated_at", "bigint");
  await agents("end_reason", "text");
  await agents("ended_at", "bigint");
  await counted("beats", "inst_beats", 0);
  await counted("beats", "seal_ctr", 0);
  await counted("beats", "head_seq", 0);
  const beats = (name: string, type: "bigint" | "text") =>
    db.schema.alterTable("beats").addColumn(name, type).execute();
  await beats("head", "text");
  await beats("inst", "text");
  await beats("inst_since", "bigint");
  await beats("address", "text");
  await db.schema.createIndex("agents_by_key").on("agents").column("jkt").execute();
}

async function newTables(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("orders")
    .addColumn("agent_id", "text", (c) => c.notNull().references("agents.id"))
    .addColumn("epoch", "integer", (c) => c.notNull())
    .addColumn("seq", "bigint", (c) => c.notNull())
    .addColumn("account_id", "text", (c) => c.notNull().references("accounts.id"))
    .addColumn("type", "text", (c) => c.notNull())
    .addColumn("body", "text", (c) => c.notNull())
    .addColumn("reason", "text", (c) => c.notNull())
    .addColumn("given_by", "text", (c) => c.notNull())
    .addColumn("given_at", "bigint", (c) => c.notNull())
    .addColumn("delivered_at", "bigint")
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("settled_at", "bigint")
    .addPrimaryKeyConstraint("orders_key", ["agent_id", "epoch", "seq"])
    .execute();
  await db.schema
    .createIndex("orders_by_state")
    .on("orders")
    .columns(["account_id", "state", "agent_id"])
    .execute();
  await db.schema
    .createTable("instances")
    .addColumn("agent_id", "text", (c) => c.notNull().references("agents.id"))
    .addColumn("inst", "text", (c) => c.notNull())
    .addColumn("account_id", "text", (c) => c.notNull().references("accounts.id"))
    .addColumn("epoch", "integer", (c) => c.notNull())
    .addColumn("address", "text", (c) => c.notNull())
    .addColumn("boot", "text", (c) => c.notNull())
    .addColumn("hostname", "text", (c) => c.notNull())
    .addColumn("version", "text", (c) => c.notNull())
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("fingerprint", "text", (c) => c.notNull())
    .addColumn("unread", "text", (c) => c.notNull())
    .addColumn("seal_ctr", "bigint", (c) => c.notNull())
    .addColumn("head_seq", "bigint", (c) => c.notNull())
    .addColumn("first_at", "bigint", (c) => c.notNull())
    .addColumn("last_at", "bigint", (c) => c.notNull())
    .addColumn("beats", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("instances_key", ["agent_id", "inst"])
    .execute();
  await db.schema
    .createTable("retired_keys")
    .addColumn("jkt", "text", (c) => c.notNull().primaryKey())
    .addColumn("account_id", "text", (c) => c.notNull().references("accounts.id"))
    .addColumn("agent_id", "text", (c) => c.notNull().references("agents.id"))
    .addColumn("identity_x", "text", (c) => c.notNull())
    .addColumn("epoch", "integer", (c) => c.notNull())
    .addColumn("recover_seq", "bigint", (c) => c.notNull())
    .addColumn("successor", "text", (c) => c.notNull())
    .addColumn("retired_at", "bigint", (c) => c.notNull())
    .execute();
  await db.schema.createIndex("retired_keys_of_agent").on("retired_keys").column("agent_id").execute();
}

/** The old table counted findings under no id. What it holds is kept, each row as a case that is open. */
async function anomalies(db: Kysely<Tables>): Promise<void> {
  interface Before {
    readonly agent_id: string;
    readonly account_id: string;
    readonly kind: string;
    readonly subject: string;
    readonly evidence: string;
    readonly count: number;
    readonly first_at: number;
    readonly last_at: number;
  }
  const before = (await db.selectFrom("anomalies").selectAll().execute()) as unknown as Before[];
  await db.schema.dropTable("anomalies").execute();
  await db.schema
    .createTable("anomalies")
    .addColumn("id", "text", (c) => c.notNull().primaryKey())
    .addColumn("account_id", "text", (c) => c.notNull().references("accounts.id"))
    .addColumn("agent_id", "text", (c) => c.notNull())
    .addColumn("kind", "text", (c) => c.notNull())
    .addColumn("epoch", "integer", (c) => c.notNull())
    .addColumn("evidence", "text", (c) => c.notNull())
    .addColumn("count", "bigint", (c) => c.notNull())
    .addColumn("first_at", "bigint", (c) => c.notNull())
    .addColumn("last_at", "bigint", (c) => c.notNull())
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("resolved_at", "bigint")
    .addColumn("resolved_by", "text")
    .addColumn("resolution", "text")
    .execute();
  await db.schema
    .createIndex("anomalies_of_account")
    .on("anomalies")
    .columns(["account_id", "state", "last_at"])
    .execute();
  await db.schema.createIndex("anomalies_of_agent").on("anomalies").columns(["agent_id", "state"]).execute();
  for (const { kind, subject, evidence, ...row } of before) {
    const id = `ano_${base62(crypto.getRandomValues(new Uint8Array(base62Bytes(20))), 20)}`;
    const found = { ...(JSON.parse(evidence) as object), subject };
    const first = JSON.stringify({ first: found, latest: [] });
    const values = { ...row, id, kind: FORMER_KINDS[kind] ?? kind, epoch: 1, evidence: first, state: "open" };
    await db
      .insertInto("anomalies")
      .values(values as never)
      .execute();
  }
}

const FORMER_KINDS: Readonly<Record<string, string>> = {
  chain_superseded_instance: "clone",
  chain_revoked_nonce: "clone",
  chain_stale_nonce: "stale_nonce",
  chain_beat_ahead: "server_rollback",
};
