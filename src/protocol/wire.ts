import * as v from "valibot";
import { AgentIdSchema, JobIdSchema, Sha256Schema } from "./ids.ts";
import { LIMITS } from "./limits.ts";
import {
  CountSchema,
  Ed25519JwkSchema,
  EpochMillisSchema,
  LabelsSchema,
  lineSchema,
  VersionSchema,
  X25519JwkSchema,
} from "./scalars.ts";
import { FingerprintSchema, TrustDocumentSchema } from "./trust.ts";

/** Paths of the agent-facing routes, in one place for both sides. */
export const ROUTES = {
  trust: "/.well-known/agentina",
  activate: "/v1/activate",
  token: "/v1/token",
  heartbeat: "/v1/heartbeat",
  wake: "/v1/wake",
  blob: (sha256: string) => `/v1/blobs/${sha256}`,
  log: (jti: string, attempt: number) => `/v1/jobs/${jti}/${attempt}/log`,
} as const;

/** Header that carries the Control Plane's signature over a heartbeat reply. */
export const REPLY_HEADER = "agentina-reply";
export const CLIENT_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const compact = (chars: number) => v.pipe(v.string(), v.maxLength(chars));
const nonce = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{22}$/));

/** The slot an agent holds or waits for under the account's `max_agents`. */
export const SlotSchema = v.strictObject({
  held: v.boolean(),
  position: v.optional(v.pipe(CountSchema, v.minValue(1))),
  max_agents: v.pipe(CountSchema, v.minValue(1)),
});
export type Slot = v.InferOutput<typeof SlotSchema>;

/** `POST /v1/activate`: everything of worth is inside `sealed`, a JWE to the `enrol` key of the trust set. */
export const ActivateRequestSchema = v.strictObject({
  v: v.literal(1),
  token_id: v.pipe(v.string(), v.regex(/^[0-9A-Za-z]{12}$/)),
  sealed: compact(LIMITS.ACTIVATE_BODY_BYTES),
});
export const ActivateSealedSchema = v.strictObject({
  v: v.literal(1),
  secret: v.pipe(v.string(), v.regex(/^[0-9A-Za-z]{43}$/)),
  fingerprint: FingerprintSchema,
  identity_jwk: Ed25519JwkSchema,
  sealing_jwk: X25519JwkSchema,
  version: VersionSchema,
  hostname: lineSchema(255),
  labels: LabelsSchema,
});
export type ActivateSealed = v.InferOutput<typeof ActivateSealedSchema>;
export const ActivateReplySchema = v.strictObject({
  v: v.literal(1),
  agent_id: AgentIdSchema,
  license: compact(LIMITS.SMALL_JWS_BYTES),
  slot: SlotSchema,
  beat: v.strictObject({ n: CountSchema, nonce }),
});
export type ActivateReply = v.InferOutput<typeof ActivateReplySchema>;

/** `POST /v1/token` (RFC 6749 section 5.1, RFC 9449 section 5). */
export const TokenReplySchema = v.strictObject({
  access_token: compact(LIMITS.SMALL_JWS_BYTES),
  token_type: v.literal("DPoP"),
  expires_in: v.pipe(CountSchema, v.minValue(1)),
});

const AGENT_STATES = [
  "terminal",
  "tampered",
  "inactive",
  "unlicensed",
  "quarantined",
  "draining",
  "paused",
  "isolated",
  "standby",
  "full",
  "working",
  "idle",
] as const;
export const AgentStateSchema = v.picklist(AGENT_STATES);
export type AgentState = v.InferOutput<typeof AgentStateSchema>;

/** A job as a beat names it. `returned` hands it back for want of capacity: it stays queued, same attempt. */
const BEAT_JOB_STATES = ["accepted", "leased", "running", "stopping", "returned"] as const;
const BeatJobSchema = v.strictObject({
  jti: JobIdSchema,
  attempt: v.pipe(CountSchema, v.minValue(1)),
  state: v.picklist(BEAT_JOB_STATES),
  started_at: v.optional(EpochMillisSchema),
  progress: v.optional(v.strictObject({ step: lineSchema(64), step_started_at: EpochMillisSchema })),
});
export type BeatJob = v.InferOutput<typeof BeatJobSchema>;

/** `POST /v1/heartbeat`. */
export const BeatRequestSchema = v.strictObject({
  v: v.literal(1),
  beat: v.strictObject({ n: CountSchema, nonce, inst: nonce, boot: lineSchema(64), rid: nonce }),
  agent: v.strictObject({
    version: VersionSchema,
    state: AgentStateSchema,
    bundle: v.picklist(["verified", "development", "unverified"]),
    policy: v.nullable(v.strictObject({ sha256: Sha256Schema, owner: v.picklist(["root", "self"]) })),
    started_at: EpochMillisSchema,
  }),
  fingerprint: FingerprintSchema,
  capacity: v.strictObject({ max: CountSchema, in_flight: CountSchema }),
  jobs: v.pipe(v.array(BeatJobSchema), v.maxLength(LIMITS.BEAT_JOBS)),
  receipts: v.pipe(v.array(compact(LIMITS.BEAT_RECEIPTS_BYTES)), v.maxLength(LIMITS.BEAT_RECEIPTS)),
  rejected: v.pipe(
    v.array(
      v.strictObject({
        envelope_sha256: Sha256Schema,
        code: v.pipe(v.string(), v.regex(/^[A-Z][A-Z0-9_]{2,63}$/)),
      }),
    ),
    v.maxLength(LIMITS.BEAT_REJECTED),
  ),
  host: v.strictObject({
    hostname: lineSchema(255),
    load1: v.pipe(v.number(), v.minValue(0)),
    memory_bytes: v.strictObject({ total: CountSchema, available: CountSchema }),
    disk_bytes: v.strictObject({ total: CountSchema, available: CountSchema }),
    sandbox: v.strictObject({ ok: v.boolean(), codes: v.pipe(v.array(v.string()), v.maxLength(32)) }),
    kinds: v.pipe(v.array(v.string()), v.maxLength(64)),
  }),
  clock: v.strictObject({ now: EpochMillisSchema, offset_ms: v.nullable(v.pipe(v.number(), v.integer())) }),
});
export type BeatRequest = v.InferOutput<typeof BeatRequestSchema>;

const LeaseSchema = v.strictObject({
  jti: JobIdSchema,
  attempt: v.pipe(CountSchema, v.minValue(1)),
  ttl_s: v.pipe(CountSchema, v.minValue(1), v.maxValue(86_400)),
});

/**
 * The reply to a heartbeat. `n` and `next` are what the next beat must show. `acks` are SHA-256s of receipts that are
 * stored for good. `license` and `trust` come only when they changed.
 */
export const BeatReplySchema = v.strictObject({
  v: v.literal(1),
  n: CountSchema,
  next: nonce,
  time: EpochMillisSchema,
  interval_s: CountSchema,
  slot: SlotSchema,
  // Each envelope is held to its size by itself: one that is too large must not void the others.
  jobs: v.pipe(v.array(v.string()), v.maxLength(LIMITS.REPLY_JOBS)),
  leases: v.pipe(v.array(LeaseSchema), v.maxLength(LIMITS.BEAT_JOBS)),
  acks: v.pipe(v.array(Sha256Schema), v.maxLength(LIMITS.BEAT_RECEIPTS)),
  license: v.optional(compact(LIMITS.SMALL_JWS_BYTES)),
  trust: v.optional(TrustDocumentSchema),
});
export type BeatReply = v.InferOutput<typeof BeatReplySchema>;

/** Claims of the `Agentina-Reply` header, signed by an order key over the exact bytes of the body. */
export const ReplyClaimsSchema = v.strictObject({
  agent: AgentIdSchema,
  rid: nonce,
  sha256: Sha256Schema,
});

/** Answer of the log route: how many bytes are stored now, and whether someone is reading along (then send sooner). */
export const LogReplySchema = v.strictObject({ stored: CountSchema, watched: v.boolean() });

/** Every refusal, as application/problem+json (RFC 9457) with our code. */
export const ProblemSchema = v.object({
  type: v.optional(v.string()),
  title: v.string(),
  status: v.number(),
  code: v.pipe(v.string(), v.regex(/^[A-Z][A-Z0-9_]{2,63}$/)),
  detail: v.pipe(v.string(), v.maxLength(4096)),
  remedy: v.pipe(v.string(), v.maxLength(4096)),
  /** What the sentence of the code was filled with: a client that knows the code tells it in its own words. */
  params: v.optional(v.record(v.string(), v.union([v.string(), v.number()]))),
  /** The server's clock; given with WIRE_CLOCK_SKEW. */
  time: v.optional(EpochMillisSchema),
});
export type Problem = v.InferOutput<typeof ProblemSchema>;
