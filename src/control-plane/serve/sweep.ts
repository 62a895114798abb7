import { reasonOf } from "../../fault/fault.ts";
import type { Services } from "../api/services.ts";
import { verifyLog } from "../logs/verify-log.ts";
import { jobAfter } from "../queue/job-table.ts";
import { SETTINGS } from "../settings.ts";
import { changeJob, lostJobs, queueDepths } from "../store/jobs.ts";
import { unverifiedLogs } from "../store/logs.ts";
import { forgetProofs } from "../store/proofs.ts";
import type { JobRow } from "../store/schema.ts";

const PROOFS_FORGOTTEN_EVERY_MS = 30_000;

/** What the server does by the clock. The returned function ends it once what is under way is done. */
export function startSweeping(services: Services): () => Promise<void> {
  let stopped = false;
  let timer: ReturnType<typeof setTimeout> | null = null;
  const due = { proofsMs: 0, keysMs: services.nowMs() + SETTINGS.KEY_CHECK_MS };
  const round = async () => {
    try {
      await sweep(services, due);
    } catch (error) {
      services.log("error", "sweep failed", { why: reasonOf(error) });
    }
    if (!stopped) schedule();
  };
  let running = verifyTold(services).then(round);
  const schedule = () => {
    timer = setTimeout(() => {
      running = round();
    }, SETTINGS.SWEEP_MS);
  };
  return async () => {
    stopped = true;
    if (timer !== null) clearTimeout(timer);
    await running;
  };
}

interface Due {
  proofsMs: number;
  keysMs: number;
}

async function sweep(services: Services, due: Due): Promise<void> {
  const { store, keys, wakes, watch, log } = services;
  const nowMs = services.nowMs();
  for (const job of await settleLost(services, nowMs)) {
    const { id, state, attempt } = job;
    log("warn", "job's agent is silent", { job: id, state, attempt });
    watch.tell(id);
  }
  if (wakes.any) for (const queue of await queueDepths(store.db)) wakes.nudge(queue, nowMs, true);
  watch.sweep(nowMs);
  if (nowMs >= due.proofsMs) {
    due.proofsMs = nowMs + PROOFS_FORGOTTEN_EVERY_MS;
    await store.write((db) => forgetProofs(db, nowMs));
  }
  if (nowMs >= due.keysMs) {
    due.keysMs = nowMs + SETTINGS.KEY_CHECK_MS;
    if (await keys.renew(Math.floor(nowMs / 1000))) {
      log("info", "keys renewed", { trust_seq: keys.current().claims.seq });
    }
  }
}

/** Takes back offers that were not answered and leases that ran out; answers the jobs as they are then. */
async function settleLost({ store, settings }: Services, nowMs: number): Promise<JobRow[]> {
  const before = {
    offeredBefore: nowMs - (2 * settings.intervalS + SETTINGS.LEASE_SKEW_S) * 1000,
    leasedUntilBefore: nowMs - SETTINGS.LEASE_SKEW_S * 1000,
  };
  if ((await lostJobs(store.db, before)).length === 0) return [];
  return await store.write(async (db) => {
    const settled: JobRow[] = [];
    for (const job of await lostJobs(db, before)) {
      const type = job.lease_until === null ? "withdrawn" : "lease_expired";
      const change = jobAfter(job, { type, nowMs });
      if (change === null) continue;
      await changeJob(db, job.account_id, job.id, change);
      settled.push({ ...job, ...change });
    }
    return settled;
  });
}

/** Logs that were whole when the process before this one ended. */
async function verifyTold(services: Services): Promise<void> {
  for (const { account_id, job_id, attempt, stream } of await unverifiedLogs(services.store.db)) {
    try {
      await verifyLog(account_id, { job: job_id, attempt, stream }, services);
    } catch (error) {
      services.log("error", "log not verified", { job: job_id, attempt, why: reasonOf(error) });
    }
  }
}
