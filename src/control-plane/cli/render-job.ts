import type { JobSummary, JobView } from "../../protocol/api.ts";
import type { TestCase, TestRunResult } from "../../protocol/outcome.ts";
import type { ReceiptClaims } from "../../protocol/receipt.ts";
import { style } from "../../terminal/output.ts";
import { byteCount, duration, safeLine, safeText } from "./text.ts";

const FAILING_SHOWN = 20;

/** A job as a person wants to read it: verdict first, what failed, what ran where and within which bounds. */
export function renderJob(job: JobView, colour: boolean): string {
  const blocks = [headline(job, colour), ...body(job, colour), facts(job)];
  return `${blocks
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join("\n"))
    .join("\n\n")}\n`;
}

/** A text in the colour of the job's verdict: green, red, or yellow while there is none. */
function inVerdictColour({ outcome }: Pick<JobSummary, "outcome">, text: string, colour: boolean): string {
  if (outcome === null) return style.yellow(text, colour);
  return outcome === "succeeded" ? style.green(text, colour) : style.red(text, colour);
}

function headline(job: JobView, colour: boolean): string[] {
  const word = (job.outcome ?? job.state).toUpperCase().replaceAll("_", " ");
  const verdict = style.bold(inVerdictColour(job, word, colour), colour);
  return [`${verdict}  ${job.id}  ${safeLine(sentence(job))}`.trimEnd()];
}

function sentence(job: JobView): string {
  const claims = job.receipt?.claims;
  const totals = claims?.result?.totals;
  if (claims?.refusal) return claims.refusal.message;
  if (totals) {
    const skipped = totals.skipped === 0 ? "" : `, ${totals.skipped} skipped`;
    return totals.failed === 0
      ? `${totals.passed} of ${totals.tests} tests passed${skipped}`
      : `${totals.failed} of ${totals.tests} tests failed${skipped}`;
  }
  if (claims?.detail) return claims.detail;
  if (job.reason !== null) return job.reason.replaceAll("_", " ");
  return job.step === null ? "" : `in step "${job.step}"`;
}

function body({ receipt }: JobView, colour: boolean): string[][] {
  const claims = receipt?.claims;
  if (!claims) return [];
  const { refusal, result } = claims;
  if (refusal)
    return [[`  ${refusal.code}: ${safeLine(refusal.message)}`, `  Remedy: ${safeLine(refusal.remedy)}`]];
  if (!result) return [];
  const failing = failingTests(result, colour);
  const tail = failing.length === 0 && result.tail ? tailLines(result.tail, colour) : [];
  return [failing, tail];
}

function failingTests({ failing, totals }: TestRunResult, colour: boolean): string[] {
  const shown = failing.slice(0, FAILING_SHOWN);
  const more = Math.max(totals?.failed ?? 0, failing.length) - shown.length;
  const lines = shown.flatMap((test) => failingTest(test, colour));
  return more > 0 ? [...lines, `  … and ${more} more`] : lines;
}

function failingTest({ name, ms, message }: TestCase, colour: boolean): string[] {
  const time = ms === undefined ? "" : ` (${duration(ms)})`;
  const lines = message === undefined ? [] : safeText(message).trimEnd().split("\n");
  return [`  ${style.red("✗", colour)} ${safeLine(name)}${time}`, ...lines.map((line) => `      ${line}`)];
}

const tailLines = (tail: string, colour: boolean): string[] => [
  "  The end of its log:",
  ...safeText(tail)
    .trimEnd()
    .split("\n")
    .map((line) => `  ${style.dim("│", colour)} ${line}`),
];

function facts(job: JobView): string[] {
  const claims = job.receipt?.claims;
  const rows: (readonly [string, string])[] = [
    ["Kind", `${job.kind}${job.attempt === 1 ? "" : `, attempt ${job.attempt}`}`],
    ["Agent", agentLine(job)],
    ...(claims?.result?.steps ?? []).map(
      (step, index) => [index === 0 ? "Ran" : "", stepLine(step)] as const,
    ),
    ...(claims?.result?.commit ? [["Commit", claims.result.commit] as const] : []),
    ...grantRows(claims),
    ["Time", timeLine(job)],
    ["Reason", job.cancel_reason ?? ""],
    ["Log", logLine(job)],
    ["Receipt", receiptLine(job)],
  ];
  return rows.filter(([, text]) => text !== "").map(([name, text]) => `  ${name.padEnd(9)}${safeLine(text)}`);
}

type Step = TestRunResult["steps"][number];

function stepLine({ name, command, ms, exit_code, end }: Step): string {
  const how =
    end === "exited"
      ? exit_code === 0
        ? ""
        : `, exit status ${exit_code}`
      : `, ${end.replaceAll("_", " ")}`;
  return `${name}${command === undefined ? "" : `: ${command}`} (${duration(ms)}${how})`;
}

function agentLine({ agent_id, receipt }: JobView): string {
  const host = receipt?.claims.host.hostname;
  if (agent_id === null) return "";
  return host === undefined ? agent_id : `${agent_id} on ${host}`;
}

/** What the job was given, and what held it to that. */
function grantRows(claims: ReceiptClaims | undefined): (readonly [string, string])[] {
  const grant = claims?.grant;
  if (!grant) return [];
  const { files, commands, hosts, env } = grant.scope;
  const list = (entries: readonly string[]) => (entries.length === 0 ? "none" : entries.join(", "));
  const programs = commands === "system" ? "the system's" : list(commands);
  const layers = claims.sandbox?.layers ?? [];
  return [
    ["Scope", `read ${list(files.read)}; write ${list(files.write)}; programs ${programs}`],
    ["", `network ${list(hosts)}; variables ${list(env)}`],
    ...(layers.length === 0
      ? []
      : [["Held by", `${layers.join(", ")}; limits ${grant.limits_enforced}`] as const]),
  ];
}

function timeLine({ created_at, started_at, finished_at }: JobView): string {
  const waited =
    started_at === null ? "" : `, after ${duration(Math.max(0, started_at - created_at))} in the queue`;
  if (finished_at === null)
    return started_at === null ? "not started" : `started ${iso(started_at)}${waited}`;
  if (started_at === null) return `ended ${iso(finished_at)}, never started`;
  return `${duration(Math.max(0, finished_at - started_at))}${waited}; ended ${iso(finished_at)}`;
}

const iso = (ms: number): string => new Date(ms).toISOString();

function logLine({ log_bytes, log_verified, receipt }: JobView): string {
  const expected = receipt?.claims.log?.size;
  const missing = expected !== undefined && expected > log_bytes ? ` of ${byteCount(expected)} so far` : "";
  const checked =
    log_verified === null ? "" : log_verified ? ", whole and unchanged" : ", NOT the one of the receipt";
  return log_bytes === 0 && !missing ? "" : `${byteCount(log_bytes)}${missing}${checked}`;
}

function receiptLine({ receipt }: JobView): string {
  if (receipt === null) return "";
  const place =
    receipt.chain === "intact"
      ? "in its place in the agent's chain"
      : "the agent's receipt before it is not stored here";
  const checks = receipt.verified
    ? `verified: signed by the agent, ${place}`
    : "NOT VERIFIED: its signature or its place in the agent's chain does not hold";
  return `${receipt.sha256} (${checks})`;
}
