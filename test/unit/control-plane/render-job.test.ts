// Goal: a person reads what happened to a job without knowing how it is kept, and nothing of it acts on a terminal.
// Method: views of jobs as the API gives them, the words they become.

import { describe, expect, test } from "bun:test";
import { renderJob } from "../../../src/control-plane/cli/render-job.ts";
import { byteCount, duration, parseSeconds, safeText, table } from "../../../src/control-plane/cli/text.ts";
import type { JobView } from "../../../src/protocol/api.ts";
import type { ReceiptClaims } from "../../../src/protocol/receipt.ts";
import { FAILED_RUN } from "./support/test-run-result.ts";

const CLAIMS = {
  ...FAILED_RUN,
  refusal: null,
  detail: null,
  host: { hostname: "builder", agent_version: "0.1.0" },
  log: { sha256: "1".repeat(64), size: 2048 },
} as unknown as ReceiptClaims;

const view = (changes: Partial<JobView> = {}, claims: Partial<ReceiptClaims> | null = {}): JobView => ({
  id: "job_00000000000000000000" as JobView["id"],
  account_id: "acc_00000000000000000000" as JobView["account_id"],
  kind: "test.run",
  state: "finished",
  attempt: 1,
  agent_id: "agt_00000000000000000000" as NonNullable<JobView["agent_id"]>,
  priority: 0,
  step: null,
  log_bytes: 2048,
  log_verified: true,
  outcome: "failed",
  reason: "tests_failed",
  cancel_reason: null,
  created_at: 1_000,
  started_at: 3_000,
  finished_at: 68_000,
  receipt:
    claims === null
      ? null
      : {
          sha256: "2".repeat(64) as never,
          jws: "x",
          verified: true,
          chain: "intact",
          claims: { ...CLAIMS, ...claims },
        },
  ...changes,
});

describe("a job reads", () => {
  test("failed: the verdict, the failing test, what ran, in which bounds, for how long", () => {
    const text = renderJob(view(), false);
    expect(text.split("\n")[0]).toBe("FAILED  job_00000000000000000000  1 of 3 tests failed");
    for (const words of [
      "✗ adds\\u001b[2J numbers (0.0 s)\n      expected 3\n        got 4\\u0007",
      "run: npm test (2.3 s, exit status 1)",
      "read /srv/repo; write ./; programs the system's",
      "bwrap, userns, netns; limits weak",
      "1 min 5 s, after 2.0 s in the queue",
      "2.0 KiB, whole and unchanged",
      "agt_00000000000000000000 on builder",
    ]) {
      expect(text).toContain(words);
    }
  });

  test("succeeded, in green where there is colour", () => {
    const totals = { tests: 3, passed: 2, failed: 0, skipped: 1 };
    const result = { ...FAILED_RUN.result, totals, failing: [] } as unknown as ReceiptClaims["result"];
    const job = view({ outcome: "succeeded" }, { outcome: "succeeded", result });
    expect(renderJob(job, false)).toContain(
      "SUCCEEDED  job_00000000000000000000  2 of 3 tests passed, 1 skipped",
    );
    expect(renderJob(job, true)).toContain("\u001b[32mSUCCEEDED");
  });

  test("refused: the host's code, sentence and remedy", () => {
    const refusal = {
      code: "SCOPE_HOSTS_UNENFORCED",
      message: "Cannot give the job a host",
      remedy: "Take it out",
    };
    const text = renderJob(view({ outcome: "refused" }, { refusal, grant: null, result: null }), false);
    expect(text).toContain("REFUSED  job_00000000000000000000  Cannot give the job a host");
    expect(text).toContain("SCOPE_HOSTS_UNENFORCED");
    expect(text).toContain("Remedy: Take it out");
  });

  test("not yet over: how it stands", () => {
    const open = { outcome: null, reason: null, finished_at: null, log_verified: null } as const;
    const running = renderJob(view({ ...open, state: "running", step: "setup" }, null), false);
    expect(running).toStartWith('RUNNING  job_00000000000000000000  in step "setup"');
    const queued = view({ ...open, state: "queued", agent_id: null, started_at: null, log_bytes: 0 }, null);
    expect(renderJob(queued, false)).toContain("not started");
  });

  test("with doubts: a receipt or a log that does not hold is said to be that", () => {
    const job = view({ log_verified: false });
    const doubted = { ...job, receipt: job.receipt && { ...job.receipt, verified: false } };
    const text = renderJob(doubted, false);
    expect(text).toContain("NOT VERIFIED");
    expect(text).toContain("NOT the one of the receipt");
  });
});

describe("words", () => {
  test.each([
    [0, "0.0 s"],
    [9_999, "10.0 s"],
    [10_000, "10 s"],
    [59_400, "59 s"],
    [185_000, "3 min 5 s"],
    [7_800_000, "2 h 10 min"],
  ])("%i ms is %s", (ms, text) => {
    expect(duration(ms)).toBe(text);
  });

  test.each([
    [1023, "1023 bytes"],
    [1024, "1.0 KiB"],
    [5_242_880, "5.0 MiB"],
  ])("%i is %s", (bytes, text) => {
    expect(byteCount(bytes)).toBe(text);
  });

  test("times are read with their unit or as seconds", () => {
    expect(["90", "90s", "15m", "2h", "7d", "", "1.5h", "-1"].map(parseSeconds)).toEqual([
      90,
      90,
      900,
      7200,
      604_800,
      null,
      null,
      null,
    ]);
  });

  test("lines and tabs stay, everything else a terminal acts on is escaped", () => {
    expect(safeText("a\tb\r\nc\rd\u001b[31m\u202e\u0085")).toBe("a\tb\nc\\u000dd\\u001b[31m\\u202e\\u0085");
  });

  test("tables line up", () => {
    expect(
      table([
        ["A", "LONG"],
        ["wider", ""],
      ]),
    ).toBe("A      LONG\nwider\n");
  });
});
