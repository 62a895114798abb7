import * as v from "valibot";
import { fault } from "../../fault/fault.ts";
import type { Plan } from "../../protocol/api.ts";
import type { AccountId, JobId, Sha256 } from "../../protocol/ids.ts";
import {
  type BlobRef,
  isRunnableKind,
  type JobSubmission,
  JobSubmissionSchema,
  PAYLOAD_SCHEMAS,
  RUNNABLE_KINDS,
  type TestRunPayload,
} from "../../protocol/job.ts";
import { parseDocument, parseValue } from "../../protocol/json.ts";
import { DEFAULT_LIMITS } from "../../protocol/scope.ts";
import { sha256Of } from "../../trust/strict-jws.ts";
import { SETTINGS } from "../settings.ts";
import type { JobRow } from "../store/schema.ts";
import { envelopeBytes } from "./offers.ts";

/** A submission that may be queued, and the digest by which the same one is known again. */
export interface CheckedSubmission {
  readonly submission: JobSubmission;
  readonly sha256: Sha256;
}

/**
 * Reads a submitted job: its own form, its kind's payload, kinds the plan has and agents can run, blobs by name. Throws
 * API_BODY_MALFORMED with the path of the offending field. Pure; whether the blobs are there is for the caller.
 */
export function readSubmission(body: Uint8Array, plan: Plan): CheckedSubmission {
  const parsed = parseDocument(body, JobSubmissionSchema);
  if (!parsed.ok) throw malformed(parsed.path, parsed.why);
  const { kind } = parsed.value;
  if (!isRunnableKind(kind)) {
    throw malformed("kind", `"${kind}" cannot be run by this version; it runs ${RUNNABLE_KINDS.join(", ")}`);
  }
  if (!plan.kinds.includes(kind)) throw malformed("kind", `"${kind}" is not in the account's plan`);
  const payload = parseValue(parsed.value.payload, PAYLOAD_SCHEMAS[kind] as v.GenericSchema);
  if (!payload.ok) {
    const path = payload.path === "(document)" ? "payload" : `payload.${payload.path}`;
    throw malformed(path, payload.why);
  }
  const submission = { ...parsed.value, payload: payload.value as JobSubmission["payload"] };
  checkBlobs(submission.blobs, payload.value as TestRunPayload);
  const sha256 = sha256Of(canonical(submission));
  if (envelopeBytes(columnsOf(submission)) > SETTINGS.SUBMISSION_BYTES) {
    throw malformed("(document)", "is too large to be signed; big inputs are given as blobs");
  }
  return { submission, sha256 };
}

/** The row of a job that has just been submitted. */
export function newJob(
  id: JobId,
  accountId: AccountId,
  { submission, sha256 }: CheckedSubmission,
  nowMs: number,
): JobRow {
  return {
    id,
    account_id: accountId,
    kind: submission.kind,
    ...columnsOf(submission),
    limits: JSON.stringify({ ...DEFAULT_LIMITS, ...submission.limits }),
    on_lost: submission.on_lost,
    priority: submission.priority,
    idempotency_key: submission.idempotency_key ?? null,
    submission_sha256: sha256,
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
    created_at: nowMs,
    queued_at: nowMs,
    started_at: null,
    finished_at: null,
  };
}

const columnsOf = ({ payload, scope, blobs }: JobSubmission) => ({
  payload: JSON.stringify(payload),
  scope: JSON.stringify(scope),
  blobs: JSON.stringify(blobs),
});

function checkBlobs(blobs: readonly BlobRef[], { source }: TestRunPayload): void {
  for (const [index, { name }] of blobs.entries()) {
    if (blobs.findIndex((blob) => blob.name === name) !== index) {
      throw malformed(`blobs.${index}.name`, `"${name}" is given twice`);
    }
  }
  if (source.type === "bundle" && !blobs.some(({ name }) => name === source.blob)) {
    throw malformed("payload.source.blob", `"${source.blob}" is none of the job's blobs`);
  }
}

/** JSON with members in alphabetical order: one text for one value. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`);
  return `{${members.join(",")}}`;
}

const malformed = (path: string, why: string) => fault("API_BODY_MALFORMED", { path, why });
