// A job's row with nothing special about it.

import type { JobRow } from "../../../../src/control-plane/store/schema.ts";

export function jobRow(changes: Partial<JobRow> = {}): JobRow {
  return {
    id: "job_00000000000000000000" as JobRow["id"],
    account_id: "acc_00000000000000000000" as JobRow["account_id"],
    kind: "test.run",
    payload: "{}",
    scope: "{}",
    limits: "{}",
    blobs: "[]",
    on_lost: "fail",
    priority: 0,
    idempotency_key: null,
    submission_sha256: "0".repeat(64) as JobRow["submission_sha256"],
    state: "queued",
    attempt: 1,
    agent_id: null,
    envelope_sha256: null,
    offered_at: null,
    lease_until: null,
    rejections: 0,
    step: null,
    outcome: null,
    reason: null,
    receipt_sha256: null,
    created_at: 1,
    queued_at: 1,
    started_at: null,
    finished_at: null,
    cancel_reason: null,
    secrets: "[]",
    ...changes,
  };
}

export const AGENT = "agt_00000000000000000000" as NonNullable<JobRow["agent_id"]>;
export const ENVELOPE = "e".repeat(64) as NonNullable<JobRow["envelope_sha256"]>;
