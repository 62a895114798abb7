import { LIMITS } from "../../src/protocol/limits.ts";
import type { TestCase, TestRunResult } from "../../src/protocol/outcome.ts";
import type { Scrubber } from "../scrub/scrubber.ts";

/**
 * Takes secrets out of every text of a result that is the job's own. What the job wrote was scrubbed before it was read;
 * reading can bring a secret back together all the same, out of an encoding of the report's own.
 */
export function scrubResult(result: TestRunResult, scrubber: Scrubber): TestRunResult {
  const line = (text: string): string => scrubber.text(text).slice(0, LIMITS.RESULT_MESSAGE_CHARS);
  const test = (found: TestCase): TestCase => ({
    ...found,
    name: line(found.name),
    ...(found.message === undefined ? {} : { message: line(found.message) }),
  });
  return {
    ...result,
    failing: result.failing.map(test),
    tests: result.tests.map(test),
    steps: result.steps.map((step) =>
      step.command === undefined ? step : { ...step, command: line(step.command) },
    ),
    ...(result.tail === undefined ? {} : { tail: scrubber.text(result.tail).slice(-TAIL_CHARS_MAX) }),
  };
}

const TAIL_CHARS_MAX = 8_192;
