import { LIMITS } from "../../src/protocol/limits.ts";
import type { TestCase, TestRunResult } from "../../src/protocol/outcome.ts";
import { displayLine } from "../steps/display.ts";

/** What a runner's own report says. Totals count every test; the lists hold the first ones of each. */
export interface TestReport {
  readonly format: "tap" | "junit";
  readonly totals: NonNullable<TestRunResult["totals"]>;
  readonly failing: readonly TestCase[];
  readonly tests: readonly TestCase[];
  readonly listsCut: boolean;
  /** What makes the report say "not passed" although no test in it failed: `Bail out!`, tests announced and not run. */
  readonly problem: string | null;
}

/** One test as a reader found it; texts still raw. */
export interface FoundTest {
  readonly name: string;
  readonly status: TestCase["status"];
  readonly ms: number | null;
  readonly message: string | null;
}

/** Counts tests and keeps the first of them; memory stays bounded however many there are. */
export class TestTally {
  private readonly failing: TestCase[] = [];
  private readonly tests: TestCase[] = [];
  private readonly counts = { passed: 0, failed: 0, skipped: 0 };

  add(found: FoundTest): void {
    this.counts[found.status] += 1;
    const failed = found.status === "failed";
    const wanted = this.tests.length < LIMITS.RESULT_TESTS;
    const wantedFailing = failed && this.failing.length < LIMITS.RESULT_FAILING_TESTS;
    if (!wanted && !wantedFailing) return;
    const test: TestCase = {
      name: displayLine(found.name) || "(no name)",
      status: found.status,
      ...(found.ms === null ? {} : { ms: found.ms }),
    };
    if (wanted) this.tests.push(test);
    const message = found.message === null ? "" : displayLine(found.message);
    if (wantedFailing) this.failing.push(message === "" ? test : { ...test, message });
  }

  report(format: TestReport["format"], problem: string | null): TestReport {
    const { passed, failed, skipped } = this.counts;
    const tests = passed + failed + skipped;
    return {
      format,
      totals: { tests, passed, failed, skipped },
      failing: this.failing,
      tests: this.tests,
      listsCut: this.tests.length < tests || this.failing.length < failed,
      problem: problem === null ? null : displayLine(problem),
    };
  }
}
