import * as v from "valibot";
import { AgentIdSchema, JobIdSchema, Sha256Schema } from "./ids.ts";
import { OutcomeSchema, ReasonSchema, TestRunResultSchema } from "./outcome.ts";
import { CountSchema, EpochMillisSchema, lineSchema } from "./scalars.ts";
import { JobLimitsSchema, ScopeSchema } from "./scope.ts";

/** What the agent gave a job: the scope it asked for, the limits, and which layers held it to them. */
export const GrantSchema = v.strictObject({
  scope: ScopeSchema,
  limits: JobLimitsSchema,
  limits_enforced: v.picklist(["cgroup", "weak"]),
});
export type Grant = v.InferOutput<typeof GrantSchema>;

const RefusalSchema = v.strictObject({
  code: v.pipe(v.string(), v.regex(/^[A-Z][A-Z0-9_]{2,63}$/)),
  message: v.pipe(v.string(), v.maxLength(2048)),
  remedy: v.pipe(v.string(), v.maxLength(2048)),
});

/**
 * Claims of an `agentina-receipt+jws`: what one agent did with one attempt of one job. `prev_sha256` is the SHA-256 of
 * the compact text of the agent's receipt before (64 zeros for the first), `seq` counts from 1 without a gap.
 */
export const ReceiptClaimsSchema = v.strictObject({
  v: v.literal(1),
  iss: AgentIdSchema,
  seq: v.pipe(CountSchema, v.minValue(1)),
  prev_sha256: Sha256Schema,
  jti: JobIdSchema,
  attempt: v.pipe(CountSchema, v.minValue(1)),
  job_sha256: Sha256Schema,
  policy_sha256: v.nullable(Sha256Schema),
  policy_owner: v.nullable(v.picklist(["root", "self"])),
  grant: v.nullable(GrantSchema),
  refusal: v.nullable(RefusalSchema),
  outcome: OutcomeSchema,
  reason: ReasonSchema,
  /** One sentence for a person when the outcome is not the ordinary one. */
  detail: v.nullable(v.pipe(v.string(), v.maxLength(2048))),
  accepted_at: EpochMillisSchema,
  started_at: v.nullable(EpochMillisSchema),
  finished_at: EpochMillisSchema,
  host: v.strictObject({ hostname: lineSchema(255), agent_version: v.pipe(v.string(), v.maxLength(64)) }),
  sandbox: v.nullable(v.strictObject({ layers: v.pipe(v.array(v.string()), v.maxLength(16)) })),
  usage: v.nullable(v.strictObject({ cpu_ms: CountSchema, max_rss_bytes: CountSchema })),
  result: v.nullable(TestRunResultSchema),
  log: v.nullable(v.strictObject({ sha256: Sha256Schema, size: CountSchema })),
  /** Processes of the job left when it ended; null when nobody was there to count (a crash in between). */
  survivors: v.nullable(CountSchema),
});
export type ReceiptClaims = v.InferOutput<typeof ReceiptClaimsSchema>;

export const FIRST_PREV_SHA256 = v.parse(Sha256Schema, "0".repeat(64));
