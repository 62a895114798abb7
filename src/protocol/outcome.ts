import * as v from "valibot";
import { ReportFormatSchema } from "./job.ts";
import { LIMITS } from "./limits.ts";
import { CountSchema, EpochMillisSchema } from "./scalars.ts";

const OUTCOMES = [
  "succeeded",
  "failed",
  "refused",
  "cancelled",
  "timed_out",
  "lease_lost",
  "interrupted",
  "sandbox_failed",
] as const;
export const OutcomeSchema = v.picklist(OUTCOMES);
export type Outcome = v.InferOutput<typeof OutcomeSchema>;

/**
 * The closed list of machine-readable reasons. A refusal's reason is the fault code (`refused` alone), everything
 * else is one of these.
 */
export const REASONS = [
  "tests_passed",
  "tests_failed",
  "no_tests_reported",
  "report_contradicts_exit",
  "exit_zero",
  "exit_nonzero",
  "killed_by_signal",
  "report_unreadable",
  "setup_failed",
  "checkout_failed",
  "output_limit",
  "deadline",
  "host_stopping",
  "order_cancel",
  "order_stop",
  "order_terminal",
  "quarantined",
  "lease_expired",
  "never_started",
  "agent_restarted",
  "worker_died",
  "sandbox_setup_failed",
  "workspace_unusable",
  "input_unavailable",
] as const;
export type Reason = (typeof REASONS)[number];
export const ReasonSchema = v.pipe(v.string(), v.regex(/^[a-z_]{1,64}$|^[A-Z][A-Z0-9_]{2,63}$/));

const text = v.pipe(v.string(), v.maxLength(LIMITS.RESULT_MESSAGE_CHARS));

const TestCaseSchema = v.strictObject({
  name: text,
  status: v.picklist(["passed", "failed", "skipped"]),
  ms: v.optional(v.pipe(v.number(), v.minValue(0))),
  message: v.optional(text),
});
export type TestCase = v.InferOutput<typeof TestCaseSchema>;

const StepReportSchema = v.strictObject({
  name: text,
  /** The argv as it was run, shortened for display. */
  command: v.optional(text),
  started_at: EpochMillisSchema,
  ms: CountSchema,
  exit_code: v.nullable(v.number()),
  /** How the step ended; `exited` is the ordinary end, whatever the code. */
  end: v.picklist(["exited", "signalled", "deadline", "stopped", "output_limit", "sandbox_failed"]),
});
export type StepReport = v.InferOutput<typeof StepReportSchema>;

/** Result of `test.run`. Totals count every test; the two lists are cut to fit a receipt (`lists_cut`). */
export const TestRunResultSchema = v.strictObject({
  kind: v.literal("test.run"),
  format: v.nullable(ReportFormatSchema),
  exit_code: v.nullable(v.number()),
  commit: v.nullable(v.string()),
  totals: v.nullable(
    v.strictObject({ tests: CountSchema, passed: CountSchema, failed: CountSchema, skipped: CountSchema }),
  ),
  failing: v.pipe(v.array(TestCaseSchema), v.maxLength(LIMITS.RESULT_FAILING_TESTS)),
  tests: v.pipe(v.array(TestCaseSchema), v.maxLength(LIMITS.RESULT_TESTS)),
  lists_cut: v.boolean(),
  steps: v.pipe(v.array(StepReportSchema), v.maxLength(64)),
  /** The end of the log when something went wrong, for reading without fetching it. */
  tail: v.optional(v.pipe(v.string(), v.maxLength(8192))),
});
export type TestRunResult = v.InferOutput<typeof TestRunResultSchema>;
