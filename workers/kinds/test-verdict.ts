import type { ReportFormat } from "../../src/protocol/job.ts";
import type { TestReport } from "../reports/test-tally.ts";
import { displayLine } from "../steps/display.ts";
import type { StepEnd } from "../steps/run-command.ts";
import type { KindReport } from "./job-context.ts";

/** What could be had of the runner's own report. */
export type ReportReading =
  | { readonly read: "report"; readonly report: TestReport; readonly skippedWhole: boolean }
  | { readonly read: "none"; readonly why: string | null }
  | { readonly read: "unreadable"; readonly why: string };

export type Verdict = Pick<KindReport, "end" | "reason" | "detail">;

const passed = (reason: Verdict["reason"]): Verdict => ({ end: "succeeded", reason, detail: null });
const failed = (reason: Verdict["reason"], detail: string | null): Verdict => ({
  end: "failed",
  reason,
  detail,
});

/**
 * The verdict on a test command that ended by itself: exit status and report must say the same. A report asked for and
 * not there is a failure, a report without a single test too: a suite never passes by not running.
 */
export function testVerdict(end: StepEnd, reading: ReportReading, asked: ReportFormat): Verdict {
  if (end.end === "signalled") {
    return failed("killed_by_signal", `${end.title} was ended by ${end.signal}`);
  }
  if (end.why !== null) {
    return failed("exit_nonzero", `${end.title} cannot be started: ${displayLine(end.why)}`);
  }
  const status = end.exit_code ?? 0;
  switch (reading.read) {
    case "unreadable":
      return failed("report_unreadable", reading.why);
    case "none":
      if (asked !== "exit" && (asked !== "auto" || reading.why !== null)) {
        return failed("no_tests_reported", reading.why ?? `the output is no ${asked.toUpperCase()} report`);
      }
      return status === 0 ? passed("exit_zero") : failed("exit_nonzero", `it ended with status ${status}`);
    case "report":
      return reportVerdict(reading.report, status, reading.skippedWhole);
  }
}

function reportVerdict({ totals, problem }: TestReport, status: number, skippedWhole: boolean): Verdict {
  const bad = totals.failed > 0 || problem !== null;
  if (totals.tests === 0 && !(skippedWhole && status === 0)) {
    return failed("no_tests_reported", problem ?? `the report holds no test; the exit status is ${status}`);
  }
  if (bad && status === 0) {
    return failed(
      "report_contradicts_exit",
      `${whatIsBad(totals.failed, problem)}, but the exit status is 0`,
    );
  }
  if (bad) return failed("tests_failed", problem);
  if (status !== 0) {
    return failed(
      "report_contradicts_exit",
      `no test of ${totals.tests} failed, but the exit status is ${status}`,
    );
  }
  return passed("tests_passed");
}

const whatIsBad = (count: number, problem: string | null): string =>
  count > 0 ? `${count} ${count === 1 ? "test" : "tests"} failed` : (problem ?? "");
