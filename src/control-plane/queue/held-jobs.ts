import type { AgentId, JobId } from "../../protocol/ids.ts";
import type { BeatInput } from "../beat/beat-input.ts";
import { BELIEVED_MAX } from "../beat/resync.ts";
import { heldAmong, releaseHeld } from "../store/held-jobs.ts";
import type { JobRow, Writer } from "../store/schema.ts";

/**
 * Jobs that were held since a restore and that this accepted beat tells of, by name or by receipt: from now on they are
 * the agent's, in the attempt it speaks of, and what the beat says of them counts. Answers them as they are to be taken
 * into the world, before the news.
 */
export async function adopt(db: Writer, input: BeatInput): Promise<JobRow[]> {
  const { accountId, agentId, nowMs } = input;
  const attempts = toldAttempts(input);
  const held = await heldAmong(db, accountId, [...attempts.keys()]);
  const taken = held.flatMap((job) => adoptedBy(job, agentId, attempts.get(job.id) ?? 0, nowMs) ?? []);
  await releaseHeld(
    db,
    accountId,
    taken.map(({ id }) => id),
  );
  return taken;
}

/** The highest attempt of each job the beat speaks of. */
function toldAttempts({ request, receipts }: BeatInput): Map<JobId, number> {
  const told = new Map<JobId, number>();
  const tell = (job: JobId, attempt: number) => told.set(job, Math.max(attempt, told.get(job) ?? 0));
  for (const { jti, attempt } of request.jobs) tell(jti, attempt);
  for (const receipt of receipts) if (receipt.usable) tell(receipt.claims.jti, receipt.claims.attempt);
  return told;
}

/**
 * The job as the agent's that tells of this attempt; null when the backup knew a later one. Whoever held it in the backup
 * does not count: nobody else can have the same attempt now. Its lease is over until the beat renews it. Pure.
 */
export function adoptedBy(job: JobRow, agentId: AgentId, attempt: number, nowMs: number): JobRow | null {
  if (attempt < job.attempt || attempt > BELIEVED_MAX || job.state === "finished") return null;
  if (job.agent_id === agentId && job.attempt === attempt) return job;
  return {
    ...job,
    state: job.state === "cancelling" ? "cancelling" : "leased",
    agent_id: agentId,
    attempt,
    envelope_sha256: null,
    lease_until: nowMs,
    step: null,
  };
}
