import type { Services } from "../api/services.ts";
import type { Aftermath } from "../beat/beat-input.ts";
import { verifyLog } from "../logs/verify-log.ts";
import { MAIN_STREAM } from "../store/logs.ts";

/** Tells those concerned what a heartbeat changed, once it is durable. */
export function afterBeat(aftermath: Aftermath, services: Services): void {
  const { accountId, agentId, changedJobs, toldAttempts, standing, anomalies, events } = aftermath;
  const nowMs = services.nowMs();
  services.wakes.update(agentId, standing);
  for (const { id, kind, what } of anomalies) {
    services.log("warn", "anomaly", { anomaly: id, agent: agentId, kind, what });
  }
  for (const event of events) {
    services.log(event === "quarantined" ? "warn" : "info", `agent ${event}`, { agent: agentId });
    if (event === "ended") services.wakes.close(agentId);
    if (event !== "resynchronised") services.wakes.tellWaiting(accountId);
  }
  for (const job of changedJobs) {
    services.watch.tell(job.id);
    if (job.state === "queued") services.wakes.nudge({ accountId, kind: job.kind, jobs: 1 }, nowMs, true);
    if (job.state === "finished") {
      const { id, outcome, reason, attempt } = job;
      services.log("info", "job finished", { job: id, attempt, agent: agentId, outcome, reason });
    }
  }
  for (const { job, attempt } of toldAttempts) {
    verifyLog(accountId, { job, attempt, stream: MAIN_STREAM }, services).catch((error: unknown) => {
      services.log("error", "log not verified", { job, attempt, why: String(error) });
    });
  }
}
