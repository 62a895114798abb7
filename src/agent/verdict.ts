import type { Fault } from "../fault/fault.ts";
import type { JobReport, StopCause } from "../protocol/execution.ts";
import type { AgentId, JobId, Sha256 } from "../protocol/ids.ts";
import type { Outcome, Reason } from "../protocol/outcome.ts";
import type { ReceiptClaims } from "../protocol/receipt.ts";
import type { JobRow } from "./journal.ts";

/** How one attempt ended, before it is written into a receipt. */
export interface Verdict {
  readonly outcome: Outcome;
  /** One of REASONS, or a fault code for a refusal. */
  readonly reason: Reason | Fault["code"];
  readonly detail: string | null;
  readonly report: JobReport | null;
  readonly refusal: Fault | null;
}

const STOPPED: Readonly<Record<StopCause, { outcome: Outcome; reason: Reason }>> = {
  deadline: { outcome: "timed_out", reason: "deadline" },
  order_cancel: { outcome: "cancelled", reason: "order_cancel" },
  host_stopping: { outcome: "cancelled", reason: "host_stopping" },
  lease_expired: { outcome: "lease_lost", reason: "lease_expired" },
};

/**
 * The outcome of a run. A job that ended by itself before the stop reached it keeps its own end; one that was stopped
 * is named after the cause the agent knows, never after what the worker says; a worker that died without a report and
 * without a cause is our failure, not the tests'.
 */
export function verdictOfRun(report: JobReport | null, stop: StopCause | null): Verdict {
  if (report && report.end !== "stopped") {
    return { outcome: report.end, reason: report.reason, detail: report.detail, report, refusal: null };
  }
  const cause = stop ?? report?.stop_cause ?? null;
  if (cause !== null) return { ...STOPPED[cause], detail: report?.detail ?? null, report, refusal: null };
  const detail = "The worker that ran the job ended without a report";
  return { outcome: "failed", reason: "worker_died", detail, report, refusal: null };
}

export const refusedBy = (why: Fault): Verdict => ({
  outcome: "refused",
  reason: why.code,
  detail: why.message,
  report: null,
  refusal: why,
});

/** An attempt whose run nobody can tell about any more, or that never came to run. */
export function abandoned(
  row: Pick<JobRow, "state">,
  why: "restart" | "stopping" | "lease_missing",
): Verdict {
  const ran = row.state === "running" || row.state === "stopping";
  const outcome: Outcome = why === "lease_missing" ? "lease_lost" : "interrupted";
  const reason: Reason = ran ? "agent_restarted" : "never_started";
  const detail = ran ? "The agent stopped without warning while the job ran" : null;
  return { outcome, reason, detail, report: null, refusal: null };
}

/** What every receipt of this process has in common. */
export interface ReceiptFrame {
  readonly agentId: AgentId;
  readonly hostname: string;
  readonly version: string;
  readonly policy: { readonly sha256: Sha256; readonly owner: "root" | "self" } | null;
}

/** The claims of the receipt for one ended attempt. */
export function receiptClaims(
  frame: ReceiptFrame,
  head: { readonly seq: number; readonly sha256: Sha256 },
  job: Pick<JobRow, "claims" | "envelopeSha256" | "grant" | "acceptedAt" | "startedAt">,
  verdict: Verdict,
  nowMs: number,
): ReceiptClaims {
  const { report, refusal } = verdict;
  return {
    v: 1,
    iss: frame.agentId,
    seq: head.seq + 1,
    prev_sha256: head.sha256,
    jti: job.claims.jti as JobId,
    attempt: job.claims.attempt,
    job_sha256: job.envelopeSha256 as Sha256,
    policy_sha256: frame.policy?.sha256 ?? null,
    policy_owner: frame.policy?.owner ?? null,
    grant: refusal ? null : job.grant,
    refusal: refusal && {
      code: refusal.code,
      message: refusal.message.slice(0, 2048),
      remedy: refusal.remedy.slice(0, 2048),
    },
    outcome: verdict.outcome,
    reason: verdict.reason,
    detail: verdict.detail?.slice(0, 2048) ?? null,
    accepted_at: job.acceptedAt,
    started_at: job.startedAt,
    finished_at: nowMs,
    host: { hostname: frame.hostname, agent_version: frame.version },
    sandbox: report && { layers: report.layers },
    usage: report?.usage ?? null,
    result: report?.result ?? null,
    log: report?.log ?? null,
    survivors: report?.survivors ?? null,
  };
}
