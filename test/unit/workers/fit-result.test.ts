// Goal: a result fits a receipt whatever a job reports, and what is cut is said to be cut.
// Method: the largest result the schema lets through, in the most expensive characters.

import { expect, test } from "bun:test";
import * as v from "valibot";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { type TestRunResult, TestRunResultSchema } from "../../../src/protocol/outcome.ts";
import { fitResult } from "../../../workers/kinds/fit-result.ts";

const wide = "\u{1f9ea}".repeat(250); // 500 units, 1,000 bytes

function largest(): TestRunResult {
  const step = { name: wide, command: wide, started_at: 1, ms: 1, exit_code: 0, end: "exited" as const };
  return {
    kind: "test.run",
    format: "tap",
    exit_code: 1,
    commit: "a".repeat(40),
    totals: { tests: 900, passed: 0, failed: 900, skipped: 0 },
    failing: Array.from({ length: 50 }, () => ({ name: wide, status: "failed", ms: 1, message: wide })),
    tests: Array.from({ length: 200 }, () => ({ name: wide, status: "failed", ms: 1 })),
    lists_cut: false,
    steps: Array.from({ length: 10 }, () => step),
    tail: "\u0001".repeat(8_192),
  };
}

test("the largest is cut until it fits, and still is a result", () => {
  const fitted = fitResult(largest());
  expect(Buffer.byteLength(JSON.stringify(fitted))).toBeLessThanOrEqual(LIMITS.RESULT_BYTES);
  expect(fitted.lists_cut).toBe(true);
  expect(fitted.failing.length).toBeGreaterThan(0);
  expect(fitted.totals?.failed).toBe(900);
  expect(v.is(TestRunResultSchema, fitted)).toBe(true);
});

test("one that fits stays as it is", () => {
  const small = { ...largest(), failing: [], tests: [], steps: [], tail: "end" };
  expect(fitResult(small)).toEqual(small);
});
