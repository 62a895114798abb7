import type { CreateTableBuilder, Kysely } from "kysely";
import { type Migration, Migrator } from "kysely/migration";
import { fault, reasonOf } from "../../fault/fault.ts";
import { lifecycle } from "./migrations/0002-lifecycle.ts";
import { custody } from "./migrations/0003-custody.ts";
import { secrets } from "./migrations/0004-secrets.ts";
import type { Tables } from "./schema.ts";

/** Every step from an empty database to today's, by name in the order they are taken. Steps are never changed. */
const MIGRATIONS: Readonly<Record<string, Migration>> = {
  "0001-first": { up: first },
  "0002-lifecycle": { up: lifecycle },
  "0003-custody": { up: custody },
  "0004-secrets": { up: secrets },
};

/**
 * Brings the database to today's schema, or to the step `to`, as an older program left it. Throws CONTROL_DATABASE; a step
 * that failed has left nothing.
 */
export async function migrate(db: Kysely<Tables>, to?: string): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ ...MIGRATIONS }) } });
  const { error } = await (to === undefined ? migrator.migrateToLatest() : migrator.migrateTo(to));
  if (error !== undefined) throw fault("CONTROL_DATABASE", { why: reasonOf(error) }, error);
}

async function first(db: Kysely<unknown>): Promise<void> {
  await accountsAndAgents(db);
  await jobsAndWhatTheyLeave(db);
  await db.schema
    .createTable("dpop_proofs")
    .addColumn("proof", "text", (c) => c.notNull().primaryKey())
    .$call(account)
    .addColumn("expires_at", "bigint", (c) => c.notNull())
    .execute();
  await db.schema
    .createTable("anomalies")
    .addColumn("agent_id", "text", (c) => c.notNull())
    .addColumn("kind", "text", (c) => c.notNull())
    .addColumn("subject", "text", (c) => c.notNull())
    .$call(account)
    .addColumn("evidence", "text", (c) => c.notNull())
    .addColumn("count", "integer", (c) => c.notNull())
    .addColumn("first_at", "bigint", (c) => c.notNull())
    .addColumn("last_at", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("anomalies_key", ["agent_id", "kind", "subject"])
    .execute();
  await indexes(db);
}

type AnyTable = CreateTableBuilder<string, string>;
const account = <T extends CreateTableBuilder<never, string>>(table: T) =>
  (table as unknown as AnyTable).addColumn("account_id", "text", (c) =>
    c.notNull().references("accounts.id"),
  );

async function accountsAndAgents(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("meta")
    .addColumn("key", "text", (c) => c.notNull().primaryKey())
    .addColumn("value", "text", (c) => c.notNull())
    .execute();
  await db.schema
    .createTable("accounts")
    .addColumn("id", "text", (c) => c.notNull().primaryKey())
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("plan", "text", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .execute();
  await db.schema
    .createTable("activation_tokens")
    .addColumn("id", "text", (c) => c.notNull().primaryKey())
    .$call(account)
    .addColumn("secret_sha256", "text", (c) => c.notNull())
    .addColumn("label", "text", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("expires_at", "bigint", (c) => c.notNull())
    .addColumn("revoked_at", "bigint")
    .addColumn("redeemed_by", "text")
    .addColumn("redeemed_at", "bigint")
    .addColumn("agent_id", "text")
    .execute();
  await db.schema
    .createTable("agents")
    .addColumn("id", "text", (c) => c.notNull().primaryKey())
    .$call(account)
    .addColumn("jkt", "text", (c) => c.notNull())
    .addColumn("identity_x", "text", (c) => c.notNull())
    .addColumn("sealing_x", "text", (c) => c.notNull())
    .addColumn("hostname", "text", (c) => c.notNull())
    .addColumn("labels", "text", (c) => c.notNull())
    .addColumn("fingerprint", "text", (c) => c.notNull())
    .addColumn("weak", "integer", (c) => c.notNull())
    .addColumn("lic", "text", (c) => c.notNull())
    .addColumn("epoch", "integer", (c) => c.notNull())
    .addColumn("license", "text", (c) => c.notNull())
    .addColumn("license_terms", "text", (c) => c.notNull())
    .addColumn("license_iat", "bigint", (c) => c.notNull())
    .addColumn("license_exp", "bigint", (c) => c.notNull())
    .addColumn("slot_since", "bigint")
    .addColumn("waiting_since", "bigint")
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .execute();
  await db.schema
    .createTable("beats")
    .addColumn("agent_id", "text", (c) => c.notNull().primaryKey().references("agents.id"))
    .$call(account)
    .addColumn("chain", "text", (c) => c.notNull())
    .addColumn("reply", "text")
    .addColumn("offer_seq", "bigint", (c) => c.notNull())
    .addColumn("trust_seq", "bigint", (c) => c.notNull())
    .addColumn("state", "text")
    .addColumn("version", "text", (c) => c.notNull())
    .addColumn("capacity", "integer", (c) => c.notNull())
    .addColumn("in_flight", "integer", (c) => c.notNull())
    .addColumn("kinds", "text", (c) => c.notNull())
    .addColumn("facts", "text")
    .addColumn("last_beat_at", "bigint")
    .execute();
}

async function jobsAndWhatTheyLeave(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("jobs")
    .addColumn("id", "text", (c) => c.notNull().primaryKey())
    .$call(account)
    .addColumn("kind", "text", (c) => c.notNull())
    .addColumn("payload", "text", (c) => c.notNull())
    .addColumn("scope", "text", (c) => c.notNull())
    .addColumn("limits", "text", (c) => c.notNull())
    .addColumn("blobs", "text", (c) => c.notNull())
    .addColumn("on_lost", "text", (c) => c.notNull())
    .addColumn("priority", "integer", (c) => c.notNull())
    .addColumn("idempotency_key", "text")
    .addColumn("submission_sha256", "text", (c) => c.notNull())
    .addColumn("state", "text", (c) => c.notNull())
    .addColumn("attempt", "integer", (c) => c.notNull())
    .addColumn("agent_id", "text")
    .addColumn("envelope_sha256", "text")
    .addColumn("offered_at", "bigint")
    .addColumn("lease_until", "bigint")
    .addColumn("rejections", "integer", (c) => c.notNull())
    .addColumn("step", "text")
    .addColumn("outcome", "text")
    .addColumn("reason", "text")
    .addColumn("receipt_sha256", "text")
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addColumn("queued_at", "bigint", (c) => c.notNull())
    .addColumn("started_at", "bigint")
    .addColumn("finished_at", "bigint")
    .addUniqueConstraint("jobs_idempotency", ["account_id", "idempotency_key"])
    .execute();
  await db.schema
    .createTable("receipts")
    .addColumn("sha256", "text", (c) => c.notNull().primaryKey())
    .$call(account)
    .addColumn("agent_id", "text", (c) => c.notNull())
    .addColumn("job_id", "text", (c) => c.notNull())
    .addColumn("attempt", "integer", (c) => c.notNull())
    .addColumn("seq", "bigint", (c) => c.notNull())
    .addColumn("prev_sha256", "text", (c) => c.notNull())
    .addColumn("jws", "text", (c) => c.notNull())
    .addColumn("decided", "integer", (c) => c.notNull())
    .addColumn("received_at", "bigint", (c) => c.notNull())
    .execute();
  await db.schema
    .createTable("logs")
    .addColumn("job_id", "text", (c) => c.notNull().references("jobs.id"))
    .addColumn("attempt", "integer", (c) => c.notNull())
    .addColumn("stream", "text", (c) => c.notNull())
    .$call(account)
    .addColumn("agent_id", "text", (c) => c.notNull())
    .addColumn("size", "bigint", (c) => c.notNull())
    .addColumn("limit_bytes", "bigint", (c) => c.notNull())
    .addColumn("expected_size", "bigint")
    .addColumn("expected_sha256", "text")
    .addColumn("verified", "integer")
    .addColumn("receipt_at", "bigint")
    .addPrimaryKeyConstraint("logs_key", ["job_id", "attempt", "stream"])
    .execute();
  await db.schema
    .createTable("blobs")
    .$call(account)
    .addColumn("sha256", "text", (c) => c.notNull())
    .addColumn("size", "bigint", (c) => c.notNull())
    .addColumn("created_at", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("blobs_key", ["account_id", "sha256"])
    .execute();
}

async function indexes(db: Kysely<unknown>): Promise<void> {
  const index = (name: string, table: string, columns: string[]) =>
    db.schema.createIndex(name).on(table).columns(columns).execute();
  await index("tokens_of_account", "activation_tokens", ["account_id", "created_at"]);
  await index("agents_of_account", "agents", ["account_id", "created_at"]);
  await index("agents_by_slot", "agents", ["account_id", "slot_since"]);
  await index("jobs_queue", "jobs", ["account_id", "state", "priority", "queued_at"]);
  await index("jobs_of_account", "jobs", ["account_id", "created_at"]);
  await index("jobs_of_agent", "jobs", ["agent_id", "state"]);
  await index("jobs_by_state", "jobs", ["state", "lease_until"]);
  await index("receipts_of_agent", "receipts", ["agent_id", "seq"]);
  await index("receipts_of_job", "receipts", ["job_id", "attempt"]);
  await index("proofs_by_age", "dpop_proofs", ["expires_at"]);
  await index("anomalies_of_account", "anomalies", ["account_id", "last_at"]);
}
