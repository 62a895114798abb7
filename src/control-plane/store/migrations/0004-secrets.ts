import type { Kysely } from "kysely";

/** Secrets, sealed under a key that is not in the database, and the names of those that jobs are given. */
export async function secrets(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("secrets")
    .addColumn("account_id", "text", (c) => c.notNull().references("accounts.id"))
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("box", "text", (c) => c.notNull())
    .addColumn("kinds", "text", (c) => c.notNull())
    .addColumn("labels", "text", (c) => c.notNull())
    .addColumn("updated_at", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("secrets_key", ["account_id", "name"])
    .execute();
  await db.schema
    .alterTable("jobs")
    .addColumn("secrets", "text", (c) => c.notNull().defaultTo("[]"))
    .execute();
}
