// Goal: an outcome is what the agent knows, whatever a worker says; and every receipt fits the wire.
// Method: tables of reports and causes; then receipts made of the largest and strangest reports the door lets in.

import { describe, expect, test } from "bun:test";
import { receiptClaims, refusedBy, type Verdict, verdictOfRun } from "../../../src/agent/verdict.ts";
import { fault } from "../../../src/fault/fault.ts";
import {
  type JobReport,
  JobReportSchema,
  STOP_CAUSES,
  type StopCause,
} from "../../../src/protocol/execution.ts";
import { type AgentId, newAgentId, newJobId, type Sha256 } from "../../../src/protocol/ids.ts";
import { parseDocument, parseValue } from "../../../src/protocol/json.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import type { TestRunResult } from "../../../src/protocol/outcome.ts";
import { FIRST_PREV_SHA256, ReceiptClaimsSchema } from "../../../src/protocol/receipt.ts";
import { DEFAULT_LIMITS } from "../../../src/protocol/scope.ts";
import { openReceipt, signReceipt } from "../../../src/trust/receipt.ts";
import { anySigningKey, random } from "../../support/authority.ts";
import { SUCCESS } from "./obedient-pool.ts";

const ENDED: readonly (readonly [JobReport["end"], JobReport["reason"]])[] = [
  ["succeeded", "tests_passed"],
  ["failed", "tests_failed"],
  ["sandbox_failed", "sandbox_setup_failed"],
];
const NAMED = {
  deadline: ["timed_out", "deadline"],
  order_cancel: ["cancelled", "order_cancel"],
  order_stop: ["cancelled", "order_stop"],
  order_terminal: ["cancelled", "order_terminal"],
  quarantined: ["cancelled", "quarantined"],
  host_stopping: ["cancelled", "host_stopping"],
  lease_expired: ["lease_lost", "lease_expired"],
} as const;
const CAUSES: readonly (StopCause | null)[] = [null, ...STOP_CAUSES];
const brief = ({ outcome, reason }: Verdict): string[] => [outcome, reason];

describe("the outcome of a run", () => {
  test("that ended by itself is its own, asked to stop or not", () => {
    for (const [end, reason] of ENDED) {
      for (const stop of CAUSES) {
        for (const claimed of CAUSES) {
          const report = { ...SUCCESS, end, reason, stop_cause: claimed };
          expect(brief(verdictOfRun(report, stop))).toEqual([end, reason]);
        }
      }
    }
  });

  test("that was stopped is named after the agent's cause, whatever the worker claims", () => {
    for (const stop of STOP_CAUSES) {
      for (const claimed of CAUSES) {
        const report: JobReport = { ...SUCCESS, end: "stopped", reason: "deadline", stop_cause: claimed };
        expect(brief(verdictOfRun(report, stop))).toEqual([...NAMED[stop]]);
        expect(brief(verdictOfRun(null, stop))).toEqual([...NAMED[stop]]);
      }
    }
  });

  test("that the agent did not stop is a failure of ours; only a deadline is believed of the worker", () => {
    for (const claimed of CAUSES) {
      const report: JobReport = { ...SUCCESS, end: "stopped", reason: "order_cancel", stop_cause: claimed };
      const expected = claimed === "deadline" ? NAMED.deadline : ["failed", "worker_died"];
      expect(brief(verdictOfRun(report, null))).toEqual([...expected]);
    }
    expect(brief(verdictOfRun(null, null))).toEqual(["failed", "worker_died"]);
  });
});

const AGENT = newAgentId(random);
const scope = { files: { read: [], write: ["./"] }, commands: "system" as const, hosts: [], env: [] };

function claimsOf(verdict: Verdict, grantBytes = 0) {
  const read = Array.from({ length: Math.ceil(grantBytes / 4_000) }, () => `/${"g".repeat(3_990)}`);
  const jobScope = { ...scope, files: { read, write: [] } };
  const frame = { agentId: AGENT as AgentId, hostname: "h", version: "1.2.3", policy: null };
  const job = {
    claims: { jti: newJobId(random), attempt: 1 } as Parameters<typeof receiptClaims>[2]["claims"],
    envelopeSha256: "e".repeat(64) as Sha256,
    grant: { scope: jobScope, limits: DEFAULT_LIMITS, limits_enforced: "weak" as const },
    acceptedAt: 1,
    startedAt: 2,
  };
  return receiptClaims(frame, { seq: 0, sha256: FIRST_PREV_SHA256 }, job, verdict, 3);
}

function largeResult(text: string): TestRunResult {
  const message = text.repeat(LIMITS.RESULT_MESSAGE_CHARS).slice(0, LIMITS.RESULT_MESSAGE_CHARS);
  const one = (status: "failed" | "passed") => ({ name: message, status, ms: 1, message });
  return {
    kind: "test.run",
    format: "tap",
    exit_code: 1,
    commit: "c".repeat(40),
    totals: { tests: 250, passed: 200, failed: 50, skipped: 0 },
    failing: Array.from({ length: LIMITS.RESULT_FAILING_TESTS }, () => one("failed")),
    tests: Array.from({ length: LIMITS.RESULT_TESTS }, () => one("passed")),
    lists_cut: false,
    steps: Array.from({ length: 64 }, () => ({
      name: message,
      started_at: 1,
      ms: 1,
      exit_code: 0,
      end: "exited" as const,
    })),
    tail: text.repeat(8192).slice(0, 8192),
  };
}

describe("a receipt", () => {
  test.each(["a", "\u0001", "漢", "😀", "\ud800"])(
    "of the largest report in %j fits a beat",
    async (text) => {
      const key = await anySigningKey();
      const report: JobReport = {
        ...SUCCESS,
        end: "failed",
        reason: "tests_failed",
        detail: text.repeat(2048).slice(0, 2048),
        result: largeResult(text),
        layers: Array.from({ length: 16 }, () => text.repeat(100_000)),
      };
      expect(parseValue(report, JobReportSchema).ok).toBe(true);
      const claims = claimsOf(verdictOfRun(report, null), 262_144);
      const jws = await signReceipt(key, claims);
      expect(jws.length).toBeLessThan(LIMITS.BEAT_RECEIPTS_BYTES);
      const opened = await openReceipt(jws, key.jwk);
      expect(opened.claims.result?.totals).toEqual({ tests: 250, passed: 200, failed: 50, skipped: 0 });
      expect(opened.claims.result?.exit_code).toBe(1);
      expect(opened.claims.result?.lists_cut).toBe(true);
      expect(Buffer.byteLength(JSON.stringify(opened.claims.result))).toBeLessThanOrEqual(
        LIMITS.RESULT_BYTES,
      );
    },
  );

  test("of a result that fits has all of it", () => {
    const result = { ...largeResult("a"), tests: [], failing: [], steps: [], tail: "the end" };
    expect(claimsOf(verdictOfRun({ ...SUCCESS, result }, null)).result).toEqual(result);
  });

  test("of a refusal grants nothing and says why", () => {
    const why = fault("SCOPE_PATH_MISSING", { entry: "/data", why: "it does not exist" });
    expect(claimsOf(refusedBy(why))).toMatchObject({
      outcome: "refused",
      reason: "SCOPE_PATH_MISSING",
      grant: null,
      refusal: { code: "SCOPE_PATH_MISSING", message: why.message, remedy: why.remedy },
    });
  });

  test("whose texts were cut in the middle of a character is still strict JSON", () => {
    const detail = `${"x".repeat(2047)}😀`;
    const claims = claimsOf({ ...verdictOfRun(SUCCESS, null), detail });
    const parsed = parseDocument(JSON.stringify(claims), ReceiptClaimsSchema);
    expect(parsed.ok && parsed.value.detail).toBe(`${"x".repeat(2047)}\ufffd`);
  });
});
