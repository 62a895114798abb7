import type { Fault } from "../fault/fault.ts";
import type { JobReport, StopCause } from "../protocol/execution.ts";
import type { AgentId, JobId, Sha256 } from "../protocol/ids.ts";
import { LIMITS } from "../protocol/limits.ts";
import type { Outcome, Reason, TestRunResult } from "../protocol/outcome.ts";
import type { ReceiptClaims } from "../protocol/receipt.ts";
import type { JobRow } from "./job-row.ts";
import { wellFormed } from "./well-formed.ts";

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
  order_stop: { outcome: "cancelled", reason: "order_stop" },
  order_terminal: { outcome: "cancelled", reason: "order_terminal" },
  quarantined: { outcome: "cancelled", reason: "quarantined" },
  host_stopping: { outcome: "cancelled", reason: "host_stopping" },
  lease_expired: { outcome: "lease_lost", reason: "lease_expired" },
};

/**
 * The outcome of a run. A job that ended by itself before the stop reached it keeps its own end; one that was stopped
 * is named after the cause the agent knows, not after what the worker says. Only a deadline is believed of a worker,
 * which counts it as well; one that ended without any cause is our failure, not the tests'.
 */
export function verdictOfRun(report: JobReport | null, stop: StopCause | null): Verdict {
  if (report && report.end !== "stopped") {
    return { outcome: report.end, reason: report.reason, detail: report.detail, report, refusal: null };
  }
  const cause = stop ?? (report?.stop_cause === "deadline" ? "deadline" : null);
  if (cause !== null) return { ...STOPPED[cause], detail: report?.detail ?? null, report, refusal: null };
  const detail = report
    ? "The worker that ran the job stopped it, and the agent had not asked it to"
    : "The worker that ran the job ended without a report";
  return { outcome: "failed", reason: "worker_died", detail, report, refusal: null };
}

/** The end of an attempt that was ordered away while it waited for its start. */
export const cancelledBeforeStart: Verdict = {
  ...STOPPED.order_cancel,
  detail: null,
  report: null,
  refusal: null,
};

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
  return wellFormed({
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
    sandbox: report && { layers: report.layers.map((layer) => layer.slice(0, LAYER_CHARS_MAX)) },
    usage: report?.usage ?? null,
    result: report?.result ? fitted(report.result) : null,
    log: report?.log ?? null,
    survivors: report?.survivors ?? null,
  });
}

const LAYER_CHARS_MAX = 64;

/** A result too large for the wire loses its lists, the least needed first, and never its totals or exit status. */
function fitted(result: TestRunResult): TestRunResult {
  const { tail: _, ...short } = result;
  const cuts: TestRunResult[] = [
    result,
    { ...result, tests: [], lists_cut: true },
    { ...short, tests: [], lists_cut: true },
    { ...short, tests: [], failing: [], lists_cut: true },
    { ...short, tests: [], failing: [], steps: [], lists_cut: true },
  ];
  const fits = (cut: TestRunResult) => Buffer.byteLength(JSON.stringify(cut)) <= LIMITS.RESULT_BYTES;
  return cuts.find(fits) ?? { ...EMPTY_RESULT, exit_code: result.exit_code, totals: result.totals };
}

const EMPTY_RESULT: TestRunResult = {
  kind: "test.run",
  format: null,
  exit_code: null,
  commit: null,
  totals: null,
  failing: [],
  tests: [],
  lists_cut: true,
  steps: [],
};
