import { LIMITS } from "../../src/protocol/limits.ts";
import type { TestRunResult } from "../../src/protocol/outcome.ts";

/**
 * Cuts a result's lists until it fits a receipt (RESULT_BYTES of JSON): first the list of all tests, then the end of the
 * log, then failing tests beyond the first; totals always stay whole.
 */
export function fitResult(result: TestRunResult): TestRunResult {
  let fitted = result;
  while (jsonBytes(fitted) > LIMITS.RESULT_BYTES) {
    const next = smaller(fitted);
    if (next === null) return fitted; // what is left is bounded by the schema: steps and one failing test
    fitted = next;
  }
  return fitted;
}

function smaller(result: TestRunResult): TestRunResult | null {
  const { tests, failing, tail } = result;
  if (tests.length > 0) return { ...result, tests: tests.slice(0, tests.length >> 1), lists_cut: true };
  if (tail !== undefined && tail.length > 512) return { ...result, tail: tail.slice(-(tail.length >> 1)) };
  if (failing.length > 1)
    return { ...result, failing: failing.slice(0, failing.length >> 1), lists_cut: true };
  return null;
}

const jsonBytes = (result: TestRunResult): number => Buffer.byteLength(JSON.stringify(result));
