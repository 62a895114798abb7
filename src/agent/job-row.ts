import type * as v from "valibot";
import { type JobClaims, JobClaimsSchema } from "../protocol/job.ts";
import type { Outcome } from "../protocol/outcome.ts";
import { type Grant, GrantSchema } from "../protocol/receipt.ts";
import type { JobState } from "./job-table.ts";

/** One attempt as the journal holds it. */
export interface JobRow {
  readonly jti: string;
  readonly attempt: number;
  readonly state: JobState;
  readonly claims: JobClaims;
  readonly envelopeSha256: string;
  readonly grant: Grant | null;
  readonly acceptedAt: number;
  readonly startedAt: number | null;
  readonly step: { readonly name: string; readonly at: number } | null;
  readonly outcome: Outcome | null;
  readonly reason: string | null;
  readonly finishedAt: number | null;
  readonly logSize: number | null;
  readonly logSent: number;
}

/** The same as SQLite gives it. */
export interface RawRow {
  jti: string;
  attempt: number;
  state: string;
  claims: string;
  envelope_sha256: string;
  grant_json: string | null;
  accepted_at: number;
  started_at: number | null;
  step: string | null;
  step_at: number | null;
  outcome: string | null;
  reason: string | null;
  finished_at: number | null;
  log_size: number | null;
  log_sent: number;
}

/** Opens a row; `parsed` opens the documents in it. */
export function jobRowOf(
  raw: RawRow,
  parsed: <S extends v.GenericSchema>(text: string, schema: S) => v.InferOutput<S>,
): JobRow {
  return {
    jti: raw.jti,
    attempt: raw.attempt,
    state: raw.state as JobState,
    claims: parsed(raw.claims, JobClaimsSchema),
    envelopeSha256: raw.envelope_sha256,
    grant: raw.grant_json === null ? null : parsed(raw.grant_json, GrantSchema),
    acceptedAt: raw.accepted_at,
    startedAt: raw.started_at,
    step: raw.step === null ? null : { name: raw.step, at: raw.step_at ?? 0 },
    outcome: raw.outcome as Outcome | null,
    reason: raw.reason,
    finishedAt: raw.finished_at,
    logSize: raw.log_size,
    logSent: raw.log_sent,
  };
}
