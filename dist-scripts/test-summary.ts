// What `bun test` said at its end, read so that a run that never came to its end counts as failed.

export interface TestSummary {
  readonly passed: number;
  readonly failed: number;
  /** Skipped tests and those only announced. */
  readonly skipped: number;
}

/**
 * Counts from the closing lines of `bun test` and its exit status. A test that ends the process leaves
 * status 0 and no closing lines: that, like any status that contradicts the lines, is at least one failure.
 */
export function readSummary(output: string, status: number): TestSummary {
  const plain = Bun.stripANSI(output);
  const passed = lastCount(plain, "pass");
  const failed = lastCount(plain, "fail");
  const skipped = (lastCount(plain, "skip") ?? 0) + (lastCount(plain, "todo") ?? 0);
  const complete =
    passed !== undefined && failed !== undefined && /^Ran \d+ tests? across \d+ files?\./m.test(plain);
  const sound = complete && status === 0 && passed > 0;
  return { passed: passed ?? 0, failed: sound ? failed : Math.max(failed ?? 0, 1), skipped };
}

/** The closing line: skips are named only when there are any. */
export function summaryLine({ passed, failed, skipped }: TestSummary): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

function lastCount(plain: string, word: string): number | undefined {
  const count = [...plain.matchAll(new RegExp(`^ *(\\d+) ${word}$`, "gm"))].at(-1)?.[1];
  return count === undefined ? undefined : Number(count);
}
