import type { Log } from "./agent-log.ts";
import type { JobState } from "./job-table.ts";
import type { Journal } from "./journal.ts";
import { type ReceiptWriter, storeEnding } from "./receipts.ts";
import { abandoned } from "./verdict.ts";

/**
 * Ends every attempt in one of `states` whose run nobody can tell about any more, or that never came to run: each with
 * its receipt, all in one transaction. Returns how many there were.
 */
export async function abandonJobs(
  { journal, receipts, log }: { journal: Journal; receipts: ReceiptWriter; log: Log },
  states: readonly JobState[],
  why: "restart" | "stopping",
): Promise<number> {
  const stored = await receipts.write(
    () => journal.jobsIn(states).map((job) => ({ job, verdict: abandoned(job, why) })),
    (signed) =>
      journal.atomically(() => {
        for (const ending of signed) {
          const row = journal.job(ending.job.jti, ending.job.attempt);
          if (!row) continue;
          journal.advance(row, "abandon");
          storeEnding(journal, ending);
        }
        return signed;
      }),
  );
  for (const { job, verdict } of stored) {
    log("warn", "job.finished", {
      job: job.jti,
      attempt: job.attempt,
      outcome: verdict.outcome,
      reason: verdict.reason,
    });
  }
  return stored.length;
}
