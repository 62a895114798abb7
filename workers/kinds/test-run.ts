import { invariant } from "../../src/fault/fault.ts";
import type { TestRunPayload } from "../../src/protocol/job.ts";
import type { TestRunResult } from "../../src/protocol/outcome.ts";
import { readJUnit } from "../reports/junit.ts";
import { type FileMark, markReportFile, readReportFile } from "../reports/read-report-file.ts";
import { TapReader } from "../reports/tap.ts";
import type { Scrubber } from "../scrub/scrubber.ts";
import { checkout, gitComplaint } from "../steps/checkout.ts";
import { displayLine } from "../steps/display.ts";
import { lastLineOf, type StepEnd } from "../steps/run-command.ts";
import { fitResult } from "./fit-result.ts";
import type { JobContext, KindReport } from "./job-context.ts";
import { scrubResult } from "./scrub-result.ts";
import { type ReportReading, testVerdict, type Verdict } from "./test-verdict.ts";

/** Everything a run of `test.run` has found out so far. */
interface Findings {
  commit: string | null;
  exitCode: number | null;
  reading: ReportReading | null;
}

/**
 * Runs a `test.run` job: check out, set up, run one command, read its verdict. Throws the faults of opening the source;
 * everything the job's own programs do is an answer.
 */
export async function runTests(payload: TestRunPayload, context: JobContext): Promise<KindReport> {
  const found: Findings = { commit: null, exitCode: null, reading: null };
  const verdict =
    (await checkOut(payload, context, found)) ??
    (await setUp(payload, context)) ??
    (await test(payload, context, found));
  return { ...verdict, result: resultOf(payload, verdict, found, context) };
}

async function checkOut(
  { source }: TestRunPayload,
  context: JobContext,
  found: Findings,
): Promise<Verdict | null> {
  const { task, steps, place } = context;
  const end = await checkout(source, task, steps, place.bareView);
  if (end === null) return null;
  const early = cutShort(end, context);
  if (early) return early;
  if (end.exit_code !== 0)
    return { end: "failed", reason: "checkout_failed", detail: whatItSaid(end, gitComplaint(end)) };
  found.commit = source.type === "empty" ? null : source.commit;
  return null;
}

async function setUp(payload: TestRunPayload, context: JobContext): Promise<Verdict | null> {
  for (const [index, argv] of payload.setup.entries()) {
    const view = context.place.jobView(environmentOf("setup", payload, context));
    const end = await context.steps.run({ name: `setup ${index + 1}`, argv, view });
    const early = cutShort(end, context);
    if (early) return early;
    if (end.exit_code !== 0) {
      const detail = displayLine(`${end.title}: ${whatItSaid(end, lastLineOf(end))}`);
      return { end: "failed", reason: "setup_failed", detail };
    }
  }
  return null;
}

async function test(payload: TestRunPayload, context: JobContext, found: Findings): Promise<Verdict> {
  const { run, report } = payload;
  const { steps, place, scrubber } = context;
  const tap = report.path === undefined && report.format !== "exit" ? new TapReader() : null;
  const before = report.path === undefined ? null : markReportFile(place.workspace, report.path);
  const end = await steps.run({
    name: "test",
    argv: run,
    view: place.jobView(environmentOf("run", payload, context)),
    ...(tap ? { onStdout: (chunk: Uint8Array) => tap.push(chunk) } : {}),
  });
  found.exitCode = end.exit_code;
  found.reading = tap ? readOutput(tap, payload) : readFile(payload, place.workspace, before, scrubber);
  return cutShort(end, context) ?? testVerdict(end, found.reading, report.format);
}

/** The job's values, and of its secrets those that the payload names for this step: no other step sees them. */
function environmentOf(
  step: "setup" | "run",
  { env, secrets }: TestRunPayload,
  { task }: JobContext,
): Readonly<Record<string, string>> {
  const names = secrets?.[step] ?? [];
  return { ...env, ...Object.fromEntries(names.map((name) => [name, secretOf(task, name)])) };
}

function secretOf({ secrets }: JobContext["task"], name: string): string {
  const value = Object.hasOwn(secrets, name) ? secrets[name] : undefined;
  invariant(value !== undefined, "a job is started with every secret its payload names");
  return value;
}

function readOutput(tap: TapReader, { report }: TestRunPayload): ReportReading {
  const read = tap.finish(report.format === "tap");
  if (read === null) return { read: "none", why: null };
  return { read: "report", report: read, skippedWhole: tap.skippedWhole };
}

/** The file must come from this run: one that was there before it and is unchanged says nothing about it. */
function readFile(
  { report }: TestRunPayload,
  workspace: number,
  before: FileMark | null,
  scrubber: Scrubber,
): ReportReading {
  const { path, format } = report;
  if (path === undefined || format === "exit") return { read: "none", why: null };
  const name = displayLine(path);
  const file = readReportFile(workspace, path);
  if (file.found === "missing") return { read: "none", why: `"${name}" was not written` };
  if (file.found === "unusable") return { read: "unreadable", why: `"${name}": ${file.why}` };
  if (before?.inode === file.mark.inode && before.changedNs === file.mark.changedNs) {
    return { read: "none", why: `"${name}" was there before the run, and the run did not write it` };
  }
  const bytes = scrubber.bytes(file.bytes);
  if (format === "tap") {
    const tap = new TapReader();
    tap.push(bytes);
    const read = tap.finish(true);
    if (read === null) return { read: "unreadable", why: `"${name}" is not TAP` };
    return { read: "report", report: read, skippedWhole: tap.skippedWhole };
  }
  const junit = readJUnit(new TextDecoder().decode(bytes));
  if (!junit.ok) return { read: "unreadable", why: displayLine(`"${name}": ${junit.why}`) };
  return { read: "report", report: junit.report, skippedWhole: false };
}

/** A step that did not end by itself ends the job, whatever it was. */
function cutShort(end: StepEnd, { stop, log, task }: JobContext): Verdict | null {
  switch (end.end) {
    case "exited":
    case "signalled":
      return null;
    case "stopped":
      return { end: "stopped", reason: stop.cause ?? "order_cancel", detail: null };
    case "sandbox_failed":
      return { end: "sandbox_failed", reason: "sandbox_setup_failed", detail: displayLine(end.why ?? "") };
    case "output_limit": {
      if (log.problem !== null) {
        return {
          end: "failed",
          reason: "workspace_unusable",
          detail: `the log: ${displayLine(log.problem)}`,
        };
      }
      const detail = `the output reached ${task.grant.limits.output_bytes} bytes`;
      return { end: "failed", reason: "output_limit", detail };
    }
  }
}

function whatItSaid(end: StepEnd, said: string): string {
  if (end.why !== null) return `cannot be started: ${displayLine(end.why)}`;
  const how = end.signal === null ? `status ${end.exit_code}` : end.signal;
  return said === "" ? `ended with ${how}` : `ended with ${how}: ${said}`;
}

function resultOf(
  payload: TestRunPayload,
  verdict: Verdict,
  found: Findings,
  { steps, log, scrubber }: JobContext,
): TestRunResult {
  const report = found.reading?.read === "report" ? found.reading.report : null;
  const decidedByExit = verdict.reason === "exit_zero" || verdict.reason === "exit_nonzero";
  const result: TestRunResult = {
    kind: "test.run",
    format: report?.format ?? (decidedByExit || payload.report.format === "exit" ? "exit" : null),
    exit_code: found.exitCode,
    commit: found.commit,
    totals: report?.totals ?? null,
    failing: [...(report?.failing ?? [])],
    tests: [...(report?.tests ?? [])],
    lists_cut: report?.listsCut ?? false,
    steps: [...steps.steps],
    ...(verdict.end === "succeeded" ? {} : { tail: log.tail() }),
  };
  return fitResult(scrubResult(result, scrubber));
}
