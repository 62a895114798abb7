import type { ExpressionBuilder } from "kysely";
import type { AccountId, JobId } from "../../protocol/ids.ts";
import type { JobRow, Reader, Tables, Writer } from "./schema.ts";

/** For the queue's reads: a job that may be given out, as far as a restore is concerned. */
export const notHeld = (eb: ExpressionBuilder<Tables, "jobs">) =>
  eb.not(
    eb.exists(
      eb.selectFrom("held_jobs").select("held_jobs.job_id").whereRef("held_jobs.job_id", "=", "jobs.id"),
    ),
  );

/** States of jobs that somebody may run, or may be given. */
const OPEN = ["queued", "offered", "leased", "running", "cancelling"] as const;

/**
 * Holds every open job of a database that has just been brought back. Whoever was offered one may have it or not: it
 * belongs to the one who names it first. When leases end is for `beginHold`.
 */
export async function holdOpenJobs(db: Writer): Promise<number> {
  const open = await db
    .insertInto("held_jobs")
    .columns(["job_id", "account_id"])
    .expression((eb) =>
      eb
        .selectFrom("jobs")
        .select(["id", "account_id"])
        .where("state", "in", [...OPEN]),
    )
    .onConflict((conflict) => conflict.column("job_id").doNothing())
    .returning("job_id")
    .execute();
  await db
    .updateTable("jobs")
    .set({ state: "queued", agent_id: null, envelope_sha256: null, lease_until: null })
    .where("state", "=", "offered")
    .execute();
  return open.length;
}

/** The server is up again: those who hold something have until `untilMs` to say so. False when nothing is held. */
export async function beginHold(db: Writer, untilMs: number): Promise<boolean> {
  const { held } = await db
    .selectFrom("held_jobs")
    .select((eb) => eb.fn.countAll<number>().as("held"))
    .executeTakeFirstOrThrow();
  if (Number(held) === 0) return false;
  await db
    .updateTable("jobs")
    .set({ lease_until: untilMs })
    .where("state", "in", ["leased", "running", "cancelling"])
    .where("id", "in", (eb) => eb.selectFrom("held_jobs").select("job_id"))
    .execute();
  return true;
}

/**
 * The time is over: what nobody named is offered again, as another attempt, so that whatever an earlier one still does or
 * says is fenced off. Leases end by themselves, like any other. Answers how many jobs are back in the queue.
 */
export async function endHold(db: Writer): Promise<number> {
  const { numUpdatedRows } = await db
    .updateTable("jobs")
    .set((eb) => ({ attempt: eb("attempt", "+", 1), step: null, started_at: null }))
    .where("state", "=", "queued")
    .where("id", "in", (eb) => eb.selectFrom("held_jobs").select("job_id"))
    .executeTakeFirstOrThrow();
  await db.deleteFrom("held_jobs").execute();
  return Number(numUpdatedRows);
}

/** Those of the jobs that are held, as they stand. */
export async function heldAmong(db: Reader, accountId: AccountId, ids: readonly JobId[]): Promise<JobRow[]> {
  if (ids.length === 0) return [];
  return await db
    .selectFrom("jobs")
    .innerJoin("held_jobs", "held_jobs.job_id", "jobs.id")
    .selectAll("jobs")
    .where("jobs.account_id", "=", accountId)
    .where("jobs.id", "in", [...ids])
    .execute();
}

/** Who has these is known again. */
export async function releaseHeld(db: Writer, accountId: AccountId, ids: readonly JobId[]): Promise<void> {
  if (ids.length === 0) return;
  await db
    .deleteFrom("held_jobs")
    .where("account_id", "=", accountId)
    .where("job_id", "in", [...ids])
    .execute();
}
