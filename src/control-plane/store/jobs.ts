import { sql } from "kysely";
import type { JobState } from "../../protocol/api.ts";
import type { AccountId, AgentId, JobId } from "../../protocol/ids.ts";
import type { JobChange } from "../queue/job-table.ts";
import { SETTINGS } from "../settings.ts";
import { notHeld } from "./held-jobs.ts";
import type { JobRow, Reader, Writer } from "./schema.ts";

/** States in which an agent holds a job. */
const HELD = ["offered", "leased", "running", "overdue", "cancelling"] as const satisfies readonly JobState[];

export async function addJob(db: Writer, job: JobRow): Promise<void> {
  await db.insertInto("jobs").values(job).execute();
}

export async function jobById(db: Reader, accountId: AccountId, id: JobId): Promise<JobRow | null> {
  const row = await db
    .selectFrom("jobs")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("id", "=", id)
    .executeTakeFirst();
  return row ?? null;
}

export async function jobByKey(db: Reader, accountId: AccountId, key: string): Promise<JobRow | null> {
  const row = await db
    .selectFrom("jobs")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("idempotency_key", "=", key)
    .executeTakeFirst();
  return row ?? null;
}

/** The account's jobs, newest first. */
export async function listJobs(
  db: Reader,
  accountId: AccountId,
  filter: { readonly state: JobState | null; readonly limit: number },
): Promise<JobRow[]> {
  const { state, limit } = filter;
  const all = db.selectFrom("jobs").selectAll().where("account_id", "=", accountId);
  const query = state === null ? all : all.where("state", "=", state);
  return await query.orderBy("created_at", "desc").orderBy("id", "desc").limit(limit).execute();
}

/** Every job the agents hold, of those that belong to the account they are asked for with. */
export async function heldJobs(
  db: Reader,
  holders: readonly { readonly accountId: AccountId; readonly agentId: AgentId }[],
): Promise<JobRow[]> {
  const accountOf = new Map(holders.map(({ accountId, agentId }) => [agentId, accountId]));
  const rows = await db
    .selectFrom("jobs")
    .selectAll()
    .where("agent_id", "in", [...accountOf.keys()])
    .where("state", "in", [...HELD])
    .execute();
  return rows.filter((job) => job.agent_id !== null && accountOf.get(job.agent_id) === job.account_id);
}

/** The account's next jobs of any of these kinds, but those given a secret of `without`, in the order they are given out. */
export async function queuedJobs(
  db: Reader,
  accountId: AccountId,
  wanted: {
    readonly kinds: readonly string[];
    readonly limit: number;
    readonly without?: readonly string[];
  },
): Promise<JobRow[]> {
  if (wanted.kinds.length === 0 || wanted.limit === 0) return [];
  const queued = db
    .selectFrom("jobs")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("state", "=", "queued")
    .where("kind", "in", [...wanted.kinds])
    .where(notHeld);
  // A JSON list of plain names holds a name between quotes, or does not; unlike LIKE this tells cases apart everywhere.
  const allowed = (wanted.without ?? []).reduce(
    (query, name) => query.where(sql<boolean>`replace(secrets, ${JSON.stringify(name)}, '') = secrets`),
    queued,
  );
  return await allowed
    .orderBy("priority", "desc")
    .orderBy("queued_at")
    .orderBy("id")
    .limit(wanted.limit)
    .execute();
}

/** Writes what happened to a job. */
export async function changeJob(
  db: Writer,
  accountId: AccountId,
  id: JobId,
  change: JobChange,
): Promise<void> {
  await db.updateTable("jobs").set(change).where("account_id", "=", accountId).where("id", "=", id).execute();
}

/** Jobs of every account whose agent has been silent for too long: offers unanswered, leases over. */
export async function lostJobs(
  db: Reader,
  at: { readonly offeredBefore: number; readonly leasedUntilBefore: number },
): Promise<JobRow[]> {
  return await db
    .selectFrom("jobs")
    .selectAll()
    .where((eb) =>
      eb.or([
        eb.and([
          eb("state", "in", ["offered", "cancelling"]),
          eb("lease_until", "is", null),
          eb("offered_at", "<", at.offeredBefore),
        ]),
        eb.and([
          eb("state", "in", ["leased", "running", "cancelling"]),
          eb("lease_until", "<", at.leasedUntilBefore),
        ]),
      ]),
    )
    .limit(SETTINGS.JOBS_LISTED)
    .execute();
}

/** What waits in the queue, of every account: for whom to wake, and how many. */
export async function queueDepths(
  db: Reader,
): Promise<{ readonly accountId: AccountId; readonly kind: string; readonly jobs: number }[]> {
  const rows = await db
    .selectFrom("jobs")
    .select((eb) => ["account_id", "kind", eb.fn.countAll<number>().as("jobs")])
    .where("state", "=", "queued")
    .where(notHeld)
    .groupBy(["account_id", "kind"])
    .execute();
  return rows.map(({ account_id, kind, jobs }) => ({ accountId: account_id, kind, jobs: Number(jobs) }));
}
