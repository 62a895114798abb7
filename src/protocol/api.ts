import * as v from "valibot";
import { AccountIdSchema, AgentIdSchema, JobIdSchema, Sha256Schema } from "./ids.ts";
import { OutcomeSchema } from "./outcome.ts";
import { ReceiptClaimsSchema } from "./receipt.ts";
import { CountSchema, EpochMillisSchema, lineSchema } from "./scalars.ts";
import { AgentStateSchema } from "./wire.ts";

/** Paths of the operator-facing routes. */
export const API = {
  tokens: "/api/v1/tokens",
  agents: "/api/v1/agents",
  jobs: "/api/v1/jobs",
  job: (id: string) => `/api/v1/jobs/${id}`,
  jobLog: (id: string) => `/api/v1/jobs/${id}/log`,
  blob: (sha256: string) => `/api/v1/blobs/${sha256}`,
} as const;

export const TokenMintSchema = v.strictObject({
  label: v.optional(lineSchema(128), ""),
  ttl_s: v.optional(v.pipe(CountSchema, v.minValue(30), v.maxValue(30 * 86_400)), 900),
});
export type TokenMint = v.InferOutput<typeof TokenMintSchema>;

/** The only time the token text is shown. */
export const TokenMintedSchema = v.strictObject({
  id: v.string(),
  token: v.string(),
  label: v.string(),
  expires_at: EpochMillisSchema,
});

export const AgentViewSchema = v.strictObject({
  id: AgentIdSchema,
  account_id: AccountIdSchema,
  hostname: v.string(),
  version: v.string(),
  /** The state the agent last told; null before its first beat. */
  state: v.nullable(AgentStateSchema),
  slot_held: v.boolean(),
  last_beat_at: v.nullable(EpochMillisSchema),
  in_flight: CountSchema,
  capacity: CountSchema,
  created_at: EpochMillisSchema,
});
export type AgentView = v.InferOutput<typeof AgentViewSchema>;
export const AgentListSchema = v.strictObject({ agents: v.array(AgentViewSchema) });

export const JOB_STATES = ["queued", "offered", "accepted", "leased", "running", "finished"] as const;
export const JobStateSchema = v.picklist(JOB_STATES);
export type JobState = v.InferOutput<typeof JobStateSchema>;

export const JobViewSchema = v.strictObject({
  id: JobIdSchema,
  account_id: AccountIdSchema,
  kind: v.string(),
  state: JobStateSchema,
  attempt: v.pipe(CountSchema, v.minValue(1)),
  agent_id: v.nullable(AgentIdSchema),
  priority: v.number(),
  step: v.nullable(v.string()),
  log_bytes: CountSchema,
  outcome: v.nullable(OutcomeSchema),
  reason: v.nullable(v.string()),
  created_at: EpochMillisSchema,
  started_at: v.nullable(EpochMillisSchema),
  finished_at: v.nullable(EpochMillisSchema),
  /** The receipt that decided the outcome: its claims, its signed text, and whether text, key and chain were checked. */
  receipt: v.nullable(
    v.strictObject({
      sha256: Sha256Schema,
      jws: v.string(),
      verified: v.boolean(),
      claims: ReceiptClaimsSchema,
    }),
  ),
});
export type JobView = v.InferOutput<typeof JobViewSchema>;
export const JobListSchema = v.strictObject({ jobs: v.array(JobViewSchema) });

export const BlobStoredSchema = v.strictObject({ sha256: Sha256Schema, size: CountSchema });
