import * as v from "valibot";
import { AccountIdSchema, AgentIdSchema, JobIdSchema, Sha256Schema } from "./ids.ts";
import { JobKindSchema } from "./job.ts";
import { LIMITS } from "./limits.ts";
import { OutcomeSchema } from "./outcome.ts";
import { ReceiptClaimsSchema } from "./receipt.ts";
import { CountSchema, EpochMillisSchema, lineSchema, NonceSchema } from "./scalars.ts";
import { FINGERPRINT_COMPONENTS } from "./trust.ts";
import { AgentStateSchema } from "./wire.ts";

/** Paths of the operator-facing routes. */
export const API = {
  accountPlan: "/api/v1/account/plan",
  tokens: "/api/v1/tokens",
  token: (id: string) => `/api/v1/tokens/${id}`,
  agents: "/api/v1/agents",
  agent: (id: string) => `/api/v1/agents/${id}`,
  agentConfirm: (id: string) => `/api/v1/agents/${id}/confirm`,
  agentReceipts: (id: string) => `/api/v1/agents/${id}/receipts`,
  agentOrders: (id: string) => `/api/v1/agents/${id}/orders`,
  anomalies: "/api/v1/anomalies",
  anomaly: (id: string) => `/api/v1/anomalies/${id}`,
  anomalyAct: (id: string, act: AnomalyAct) => `/api/v1/anomalies/${id}/${act}`,
  jobs: "/api/v1/jobs",
  job: (id: string) => `/api/v1/jobs/${id}`,
  jobCancel: (id: string) => `/api/v1/jobs/${id}/cancel`,
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

/** Why somebody does something; kept with what he did. */
const ReasonTextSchema = v.pipe(lineSchema(512), v.minLength(1, "must say why"));

/** What an operator may tell an agent by itself. `cancel` follows from a job, `recover` and `reseal` from an anomaly. */
export const AGENT_ORDERS = ["drain", "stop", "resume", "quarantine", "terminate"] as const;
const graceS = v.pipe(CountSchema, v.maxValue(LIMITS.ORDER_GRACE_S));
export const AgentOrderRequestSchema = v.variant("order", [
  v.strictObject({ order: v.picklist(["drain", "resume", "quarantine"]), reason: ReasonTextSchema }),
  v.strictObject({
    order: v.picklist(["stop", "terminate"]),
    reason: ReasonTextSchema,
    grace_s: v.optional(graceS, LIMITS.STOP_GRACE_S),
  }),
]);
export type AgentOrderRequest = v.InferOutput<typeof AgentOrderRequestSchema>;

/** `open`: not yet taken, as far as the agent has told. `superseded`: another order took its place before that. */
export const OrderViewSchema = v.strictObject({
  epoch: CountSchema,
  seq: CountSchema,
  type: v.string(),
  state: v.picklist(["open", "taken", "superseded", "void"]),
  /** The job, the process, the seal number or the grace it speaks of, for people. */
  about: v.nullable(v.string()),
  reason: v.string(),
  given_by: v.string(),
  given_at: EpochMillisSchema,
  delivered_at: v.nullable(EpochMillisSchema),
  settled_at: v.nullable(EpochMillisSchema),
});
export type OrderView = v.InferOutput<typeof OrderViewSchema>;

/** How the Control Plane treats an agent, whatever the agent says of itself. */
const AGENT_STANDINGS = ["live", "unconfirmed", "quarantined", "ending", "ended"] as const;
export type AgentStandingName = (typeof AGENT_STANDINGS)[number];

const AgentViewSchema = v.strictObject({
  id: AgentIdSchema,
  account_id: AccountIdSchema,
  hostname: v.string(),
  version: v.string(),
  standing: v.picklist(AGENT_STANDINGS),
  /** Why it is anything but live. */
  standing_reason: v.nullable(v.string()),
  /** The state the agent last told; null before its first beat. */
  state: v.nullable(AgentStateSchema),
  slot_held: v.boolean(),
  last_beat_at: v.nullable(EpochMillisSchema),
  in_flight: CountSchema,
  capacity: CountSchema,
  epoch: CountSchema,
  created_at: EpochMillisSchema,
  open_orders: v.array(OrderViewSchema),
  open_anomalies: CountSchema,
});
export type AgentView = v.InferOutput<typeof AgentViewSchema>;
export const AgentListSchema = v.strictObject({ agents: v.array(AgentViewSchema) });
/** One agent with the orders last given to it, newest first. */
export const AgentDetailSchema = v.strictObject({ agent: AgentViewSchema, orders: v.array(OrderViewSchema) });
export type AgentDetail = v.InferOutput<typeof AgentDetailSchema>;

/**
 * `overdue`: its lease ran out unheard, and it is not given to another agent; its outcome is still awaited.
 * `cancelling`: its agent is told to end it; it ends with the agent's receipt or with the lease, whichever comes first.
 */
export const JOB_STATES = [
  "queued",
  "offered",
  "leased",
  "running",
  "overdue",
  "cancelling",
  "finished",
] as const;
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
  cancel_reason: v.nullable(v.string()),
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

export const JobCancelSchema = v.strictObject({ reason: v.optional(lineSchema(512), "") });

/** What can be wrong with an agent. Those of {@link QUARANTINING} stop its work until an admin has looked. */
export const ANOMALY_KINDS = [
  "clone",
  "stale_nonce",
  "fingerprint_mismatch",
  "seal_rollback",
  "self_quarantined",
  "operator_quarantine",
  "fingerprint_drift",
  "tampered",
  "bundle_mismatch",
  "clock_skew",
  "server_rollback",
  "receipt_unusable",
  "log_mismatch",
  "unknown_agent",
] as const;
export type AnomalyKind = (typeof ANOMALY_KINDS)[number];
/** Kinds that say: two hold this identity, or another machine does. */
export const QUARANTINING: readonly AnomalyKind[] = [
  "clone",
  "stale_nonce",
  "fingerprint_mismatch",
  "seal_rollback",
  "self_quarantined",
  "operator_quarantine",
];

const AnomalyIdSchema = v.pipe(v.string(), v.regex(/^ano_[0-9A-Za-z]{20}$/));
const componentList = v.array(v.picklist(FINGERPRINT_COMPONENTS));

const AnomalySummarySchema = v.strictObject({
  id: AnomalyIdSchema,
  agent_id: AgentIdSchema,
  hostname: v.string(),
  kind: v.picklist(ANOMALY_KINDS),
  state: v.picklist(["open", "resolved"]),
  /** One sentence: what was found last. */
  what: v.string(),
  count: CountSchema,
  first_at: EpochMillisSchema,
  last_at: EpochMillisSchema,
  resolved_at: v.nullable(EpochMillisSchema),
  resolved_by: v.nullable(v.string()),
  resolution: v.nullable(v.string()),
});
export type AnomalySummary = v.InferOutput<typeof AnomalySummarySchema>;
export const AnomalyListSchema = v.strictObject({ anomalies: v.array(AnomalySummarySchema) });

/** A process that spoke for the agent. */
const InstanceViewSchema = v.strictObject({
  inst: NonceSchema,
  /** The one whose beat was accepted last, before the agent was quarantined if it is. */
  in_chain: v.boolean(),
  /** Heard since the agent was quarantined. */
  heard_since: v.boolean(),
  /** The one an admin has picked to go on. */
  picked: v.boolean(),
  address: v.string(),
  boot: v.string(),
  hostname: v.string(),
  version: v.string(),
  state: v.string(),
  fingerprint: v.strictObject({
    id: v.string(),
    verdict: v.picklist(["match", "drift", "mismatch"]),
    score: v.number(),
    rule: v.nullable(v.string()),
    changed: componentList,
    lost: componentList,
    enriched: componentList,
  }),
  seal_ctr: CountSchema,
  head_seq: CountSchema,
  first_at: EpochMillisSchema,
  last_at: EpochMillisSchema,
  beats: CountSchema,
});
export type InstanceView = v.InferOutput<typeof InstanceViewSchema>;

/** What was found, as names and short values. */
const EvidenceSchema = v.record(v.string(), v.unknown());
export const AnomalyViewSchema = v.strictObject({
  ...AnomalySummarySchema.entries,
  agent: AgentViewSchema,
  evidence: v.strictObject({ first: EvidenceSchema, latest: v.array(EvidenceSchema) }),
  instances: v.array(InstanceViewSchema),
});
export type AnomalyView = v.InferOutput<typeof AnomalyViewSchema>;

export const ANOMALY_ACTS = ["recover", "rebind", "reseal", "resolve"] as const;
export type AnomalyAct = (typeof ANOMALY_ACTS)[number];
/** `inst` may be left out when only one process can be meant. */
export const RecoverRequestSchema = v.strictObject({
  inst: v.optional(NonceSchema),
  rebind: v.optional(v.boolean(), false),
  reason: ReasonTextSchema,
});
export const RebindRequestSchema = v.strictObject({
  inst: v.optional(NonceSchema),
  reason: ReasonTextSchema,
});
export const AnomalyReasonSchema = v.strictObject({ reason: ReasonTextSchema });
