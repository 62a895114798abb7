// What an agent reports of a test run with one failing test, with everything a report can hold.

import type { ReceiptClaims } from "../../../../src/protocol/receipt.ts";
import { DEFAULT_LIMITS } from "../../../../src/protocol/scope.ts";

export const FAILED_RUN = {
  outcome: "failed",
  reason: "tests_failed",
  grant: {
    scope: { files: { read: ["/srv/repo"], write: ["./"] }, commands: "system", hosts: [], env: ["CI"] },
    limits: DEFAULT_LIMITS,
    limits_enforced: "weak",
  },
  sandbox: { layers: ["bwrap", "userns", "netns"] },
  result: {
    kind: "test.run",
    format: "tap",
    exit_code: 1,
    commit: "a".repeat(40),
    totals: { tests: 3, passed: 2, failed: 1, skipped: 0 },
    failing: [
      { name: "adds\u001b[2J numbers", status: "failed", ms: 12, message: "expected 3\n  got 4\u0007" },
    ],
    tests: [],
    lists_cut: false,
    steps: [
      { name: "checkout", started_at: 1, ms: 120, exit_code: 0, end: "exited" },
      { name: "run", command: "npm test", started_at: 1, ms: 2300, exit_code: 1, end: "exited" },
    ],
  },
} as const satisfies Partial<ReceiptClaims>;
