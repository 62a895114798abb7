import { fault } from "../../fault/fault.ts";
import { giveOrder, requireAgent } from "../orders/give-order.ts";
import type { Given } from "../orders/new-order.ts";
import { releaseHeld } from "../store/held-jobs.ts";
import { changeJob } from "../store/jobs.ts";
import type { JobRow, Writer } from "../store/schema.ts";
import { jobAfter } from "./job-table.ts";

/**
 * Cancels a job, and tells its agent when it has one. Doing it again changes nothing. Throws JOB_ALREADY_FINISHED unless
 * it ended by being cancelled.
 */
export async function cancelJob(db: Writer, job: JobRow, given: Given): Promise<JobRow> {
  if (job.state === "finished" && job.outcome !== "cancelled") {
    throw fault("JOB_ALREADY_FINISHED", { outcome: job.outcome ?? "" });
  }
  const change = jobAfter(job, { type: "cancel", why: given.reason, nowMs: given.nowMs });
  if (change === null) return job;
  await changeJob(db, job.account_id, job.id, change);
  if (change.state === "finished") await releaseHeld(db, job.account_id, [job.id]);
  if (job.agent_id !== null) await tellAgent(db, job, given);
  return { ...job, ...change };
}

/** An agent that is quarantined or was told to end has been told enough. */
async function tellAgent(db: Writer, job: JobRow, given: Given): Promise<void> {
  if (job.agent_id === null) return;
  const { agent } = await requireAgent(db, job.account_id, job.agent_id);
  if (agent.quarantined_at !== null || agent.terminated_at !== null) return;
  await giveOrder(db, agent, { type: "cancel", jti: job.id }, given);
}
