import * as v from "valibot";
import { AccountIdSchema, AgentIdSchema, JobIdSchema, Sha256Schema } from "./ids.ts";
import { JobKindSchema } from "./job.ts";
import { LIMITS } from "./limits.ts";
import { OutcomeSchema } from "./outcome.ts";
import { ReceiptClaimsSchema } from "./receipt.ts";
import { CountSchema, EpochMillisSchema, lineSchema } from "./scalars.ts";
import { AgentStateSchema } from "./wire.ts";

/** Paths of the operator-facing routes. */
export const API = {
  accountPlan: "/api/v1/account/plan",
  tokens: "/api/v1/tokens",
  token: (id: string) => `/api/v1/tokens/${id}`,
  agents: "/api/v1/agents",
  jobs: "/api/v1/jobs",
  job: (id: string) => `/api/v1/jobs/${id}`,
  jobLog: (id: string) => `/api/v1/jobs/${id}/log`,
  blob: (sha256: string) => `/api/v1/blobs/${sha256}`,
} as const;

/** Headers of a job's log: what the bytes are a part of, and how the job stands. */
export const JOB_LOG_HEADERS = {
  attempt: "agentina-job-attempt",
  state: "agentina-job-state",
  /** Changes whenever the job's state, attempt or step does; given back as `seen`, the answer waits for another. */
  cursor: "agentina-job-cursor",
} as const;

/** What an account may run. */
export const PlanSchema = v.strictObject({
  name: lineSchema(64),
  max_agents: v.pipe(CountSchema, v.minValue(1), v.maxValue(1_000_000)),
  max_concurrent_tasks_per_agent: v.pipe(CountSchema, v.minValue(1), v.maxValue(LIMITS.MAX_CONCURRENT_TASKS)),
  kinds: v.pipe(v.array(JobKindSchema), v.maxLength(64)),
});
export type Plan = v.InferOutput<typeof PlanSchema>;

/** A change of the plan's numbers; what is left out stays. */
export const PlanChangeSchema = v.partial(
  v.pick(PlanSchema, ["max_agents", "max_concurrent_tasks_per_agent"]),
);

export const TokenMintSchema = v.strictObject({
  label: v.optional(lineSchema(128), ""),
  ttl_s: v.optional(v.pipe(CountSchema, v.minValue(30), v.maxValue(30 * 86_400)), 900),
});

/** The only time the token text is shown. */
export const TokenMintedSchema = v.strictObject({
  id: v.string(),
  token: v.string(),
  label: v.string(),
  expires_at: EpochMillisSchema,
});

const AgentViewSchema = v.strictObject({
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

/** `overdue`: its lease ran out unheard, and it is not given to another agent; its outcome is still awaited. */
export const JOB_STATES = ["queued", "offered", "leased", "running", "overdue", "finished"] as const;
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
  /** Whether the whole log is the one the receipt names; null before both are there. */
  log_verified: v.nullable(v.boolean()),
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
      /** The text is signed by the agent's key, and its chain is not broken. */
      verified: v.boolean(),
      /** Whether it follows the agent's receipt before it; `unknown` when that one is not stored here. */
      chain: v.picklist(["intact", "unknown", "broken"]),
      claims: ReceiptClaimsSchema,
    }),
  ),
});
export type JobView = v.InferOutput<typeof JobViewSchema>;
/** A job in a list: all but its receipt, which may be large and is verified at each asking. */
const JobSummarySchema = v.omit(JobViewSchema, ["receipt"]);
export type JobSummary = v.InferOutput<typeof JobSummarySchema>;
export const JobListSchema = v.strictObject({ jobs: v.array(JobSummarySchema) });

export const BlobStoredSchema = v.strictObject({ sha256: Sha256Schema, size: CountSchema });
