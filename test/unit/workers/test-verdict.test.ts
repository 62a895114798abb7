// Goal: a verdict never says more than exit status and report agree on.
// Method: the table of what a command can end with against what its report can say.

import { describe, expect, test } from "bun:test";
import { type ReportReading, testVerdict } from "../../../workers/kinds/test-verdict.ts";
import type { TestReport } from "../../../workers/reports/test-tally.ts";
import type { StepEnd } from "../../../workers/steps/run-command.ts";

const END: StepEnd = {
  end: "exited",
  exit_code: 0,
  signal: null,
  why: null,
  ms: 1,
  usage: null,
  survivors: 0,
  title: "npm test",
  lastLines: [],
};
const exit = (exit_code: number): StepEnd => ({ ...END, exit_code });

function report(passed: number, failed: number, problem: string | null = null): ReportReading {
  const totals: TestReport["totals"] = { tests: passed + failed, passed, failed, skipped: 0 };
  return {
    read: "report",
    report: { format: "tap", totals, failing: [], tests: [], listsCut: false, problem },
    skippedWhole: false,
  };
}

const NONE: ReportReading = { read: "none", why: null };
const verdict = (end: StepEnd, reading: ReportReading, asked: Parameters<typeof testVerdict>[2] = "auto") => {
  const { end: ended, reason } = testVerdict(end, reading, asked);
  return `${ended} ${reason}`;
};

describe("testVerdict", () => {
  test.each([
    [exit(0), report(3, 0), "succeeded tests_passed"],
    [exit(1), report(2, 1), "failed tests_failed"],
    [exit(1), report(3, 0), "failed report_contradicts_exit"],
    [exit(0), report(2, 1), "failed report_contradicts_exit"],
    [exit(1), report(2, 0, "Bail out!"), "failed tests_failed"],
    [exit(0), report(2, 0, "the plan announces 3 tests, 2 were reported"), "failed report_contradicts_exit"],
    [exit(0), report(0, 0), "failed no_tests_reported"],
    [exit(1), report(0, 0), "failed no_tests_reported"],
    [exit(0), NONE, "succeeded exit_zero"],
    [exit(3), NONE, "failed exit_nonzero"],
    [exit(0), { read: "none", why: '"r.xml" was not written' }, "failed no_tests_reported"],
    [exit(0), { read: "unreadable", why: "x" }, "failed report_unreadable"],
    [{ ...exit(127), why: "No such file or directory" }, NONE, "failed exit_nonzero"],
    [{ ...exit(139), end: "signalled", signal: "SIGSEGV" }, report(3, 0), "failed killed_by_signal"],
  ] as const)("%j with %j: %s", (end, reading, expected) => {
    expect(verdict(end, reading)).toBe(expected);
  });

  test("a format that was asked for must come", () => {
    expect(verdict(exit(0), NONE, "tap")).toBe("failed no_tests_reported");
    expect(verdict(exit(0), NONE, "exit")).toBe("succeeded exit_zero");
    expect(verdict(exit(1), NONE, "exit")).toBe("failed exit_nonzero");
  });

  test("a report that says it skips everything is believed", () => {
    const skipped = { ...report(0, 0), skippedWhole: true };
    expect(verdict(exit(0), skipped)).toBe("succeeded tests_passed");
    expect(verdict(exit(1), skipped)).toBe("failed no_tests_reported");
  });
});
