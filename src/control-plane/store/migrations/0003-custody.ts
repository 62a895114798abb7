import type { Kysely } from "kysely";

/**
 * What a database brought back from a backup needs: jobs it must not give out yet, names it must not take again, agents an
 * admin has not confirmed. And the licenses that prove whose a retired key was.
 */
export async function custody(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("held_jobs")
    .addColumn("job_id", "text", (c) => c.notNull().primaryKey().references("jobs.id"))
    .addColumn("account_id", "text", (c) => c.notNull().references("accounts.id"))
    .execute();
  await db.schema
    .createTable("barred")
    .addColumn("kind", "text", (c) => c.notNull())
    .addColumn("name", "text", (c) => c.notNull())
    .addColumn("account_id", "text", (c) => c.notNull())
    .addColumn("since", "bigint", (c) => c.notNull())
    .addPrimaryKeyConstraint("barred_key", ["kind", "name"])
    .execute();
  await db.schema.alterTable("agents").addColumn("unconfirmed_since", "bigint").execute();
  await db.schema.alterTable("retired_keys").addColumn("license", "text").execute();
}
