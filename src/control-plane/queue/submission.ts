import * as v from "valibot";
import { type Fault, fault } from "../../fault/fault.ts";
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
import { type Misfit, type Parsed, parseDocument, parseValue } from "../../protocol/json.ts";
import { DEFAULT_LIMITS } from "../../protocol/scope.ts";
import { checkSecretUse } from "../../scope/secrets.ts";
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
 * Reads a submitted job for an account: its own form, then the kinds the plan has. Throws API_BODY_MALFORMED with the
 * path of the offending field, or what is wrong with how it uses its secrets (SECRET_*, SCOPE_*). Pure; whether the blobs are there is for the caller.
 */
export function readSubmission(body: Uint8Array, plan: Plan): CheckedSubmission {
  const document = parseDocument(body, v.unknown());
  const parsed = document.ok ? checkSubmission(document.value) : document;
  if (!parsed.ok) throw malformed(parsed.path, parsed.why);
  const submission = parsed.value;
  if (!plan.kinds.includes(submission.kind)) {
    throw malformed("kind", `"${submission.kind}" is not in the account's plan`);
  }
  const misuse = misuseOfSecrets(submission);
  if (misuse !== null) throw misuse;
  return { submission, sha256: sha256Of(canonical(submission)) };
}

/** What the agent would refuse the job for, said before it is queued. */
function misuseOfSecrets({ kind, payload, scope, secrets = [] }: JobSubmission): Fault | null {
  if (!isRunnableKind(kind)) return null;
  const parsed = parseValue(payload, PAYLOAD_SCHEMAS[kind]);
  return parsed.ok ? (checkSecretUse(secrets, parsed.value, scope)?.fault ?? null) : null;
}

/** Holds a value against what a job must be: form, a kind that agents can run, its payload, blobs by name, size. */
export function checkSubmission(value: unknown): Parsed<JobSubmission> {
  const parsed = parseValue(value, JobSubmissionSchema);
  if (!parsed.ok) return parsed;
  const { kind } = parsed.value;
  if (!isRunnableKind(kind)) {
    const why = `"${kind}" cannot be run by this version; it runs ${RUNNABLE_KINDS.join(", ")}`;
    return { ok: false, path: "kind", why };
  }
  const payload = parseValue(parsed.value.payload, PAYLOAD_SCHEMAS[kind]);
  if (!payload.ok) {
    return { ...payload, path: payload.path === "(document)" ? "payload" : `payload.${payload.path}` };
  }
  const submission: JobSubmission = { ...parsed.value, payload: { ...payload.value } };
  const misfit = misfitOfBlobs(submission.blobs, payload.value);
  if (misfit !== null) return misfit;
  if (envelopeBytes(columnsOf(submission)) > SETTINGS.SUBMISSION_BYTES) {
    const why = "is too large to be signed; big inputs are given as blobs";
    return { ok: false, path: "(document)", why };
  }
  return { ok: true, value: submission };
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
    cancel_reason: null,
  };
}

const columnsOf = ({ payload, scope, blobs, secrets = [] }: JobSubmission) => ({
  payload: JSON.stringify(payload),
  scope: JSON.stringify(scope),
  blobs: JSON.stringify(blobs),
  secrets: JSON.stringify(secrets),
});

function misfitOfBlobs(blobs: readonly BlobRef[], { source }: TestRunPayload): Misfit | null {
  const doubled = blobs.findIndex(({ name }, index) => blobs.findIndex((blob) => blob.name === name) < index);
  if (doubled !== -1) return { ok: false, path: `blobs.${doubled}.name`, why: "is given twice" };
  if (source.type === "bundle" && !blobs.some(({ name }) => name === source.blob)) {
    const why = `"${source.blob}" is none of the job's blobs`;
    return { ok: false, path: "payload.source.blob", why };
  }
  return null;
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
