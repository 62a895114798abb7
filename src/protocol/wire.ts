import * as v from "valibot";
import { AgentIdSchema, JobIdSchema, Sha256Schema } from "./ids.ts";
import { LIMITS } from "./limits.ts";
import {
  CountSchema,
  Ed25519JwkSchema,
  EpochMillisSchema,
  LabelsSchema,
  lineSchema,
  NonceSchema,
  ThumbprintSchema,
  VersionSchema,
  X25519JwkSchema,
} from "./scalars.ts";
import { FINGERPRINT_COMPONENTS, FingerprintSchema, TrustDocumentSchema } from "./trust.ts";

/** Paths of the agent-facing routes, in one place for both sides. */
export const ROUTES = {
  trust: "/.well-known/agentina",
  activate: "/v1/activate",
  token: "/v1/token",
  heartbeat: "/v1/heartbeat",
  wake: "/v1/wake",
  rekey: "/v1/rekey",
  readmit: "/v1/readmit",
  blob: (sha256: string) => `/v1/blobs/${sha256}`,
  log: (jti: string, attempt: number) => `/v1/jobs/${jti}/${attempt}/log`,
} as const;

/** Header that carries the Control Plane's signature over a heartbeat reply. */
export const REPLY_HEADER = "agentina-reply";
export const CLIENT_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const compact = (chars: number) => v.pipe(v.string(), v.maxLength(chars));
const nonce = NonceSchema;
const codeSchema = v.pipe(v.string(), v.regex(/^[A-Z][A-Z0-9_]{2,63}$/));

/** The slot an agent holds or waits for under the account's `max_agents`. */
export const SlotSchema = v.strictObject({
  held: v.boolean(),
  position: v.optional(v.pipe(CountSchema, v.minValue(1))),
  max_agents: v.pipe(CountSchema, v.minValue(1)),
  /** Told to one that waits: hosts of agents that hold the slots, those that hold longest first, a few of them. */
  holders: v.optional(v.pipe(v.array(lineSchema(255)), v.maxLength(LIMITS.SLOT_HOLDERS))),
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
  /** Components that are there but could not be read: they say nothing, neither same nor changed. */
  fingerprint_unknown: v.pipe(v.array(v.picklist(FINGERPRINT_COMPONENTS)), v.maxLength(16)),
  /** Number and digest of the seal over the state files, and the head of the receipt chain; null without a seal. */
  seal: v.nullable(
    v.strictObject({ ctr: CountSchema, root: Sha256Schema, head_seq: CountSchema, head: Sha256Schema }),
  ),
  /** What the seal check found wrong: code and file. Empty unless tampered. */
  integrity: v.pipe(
    v.array(v.strictObject({ code: codeSchema, name: lineSchema(255) })),
    v.maxLength(LIMITS.SEAL_FINDINGS),
  ),
  /** The highest order taken within this epoch. */
  orders: v.strictObject({ epoch: v.pipe(CountSchema, v.minValue(1)), seq: CountSchema }),
  capacity: v.strictObject({ max: CountSchema, in_flight: CountSchema }),
  jobs: v.pipe(v.array(BeatJobSchema), v.maxLength(LIMITS.BEAT_JOBS)),
  receipts: v.pipe(v.array(compact(LIMITS.BEAT_RECEIPTS_BYTES)), v.maxLength(LIMITS.BEAT_RECEIPTS)),
  rejected: v.pipe(
    v.array(
      v.strictObject({
        envelope_sha256: Sha256Schema,
        code: codeSchema,
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

/** Each is held to its size by itself, like envelopes: one that is too large must not void the others. */
const ordersSchema = v.pipe(v.array(v.string()), v.maxLength(LIMITS.REPLY_ORDERS));

/**
 * The reply to a heartbeat. `n` and `next` are what the next beat must show. `acks` are SHA-256s of receipts that are
 * stored for good. `license` and `trust` come only when they changed.
 */
export const BeatReplySchema = v.strictObject({
  v: v.literal(1),
  standing: v.literal("live"),
  n: CountSchema,
  next: nonce,
  time: EpochMillisSchema,
  interval_s: CountSchema,
  slot: SlotSchema,
  // Each envelope is held to its size by itself: one that is too large must not void the others.
  jobs: v.pipe(v.array(v.string()), v.maxLength(LIMITS.REPLY_JOBS)),
  orders: ordersSchema,
  leases: v.pipe(v.array(LeaseSchema), v.maxLength(LIMITS.BEAT_JOBS)),
  acks: v.pipe(v.array(Sha256Schema), v.maxLength(LIMITS.BEAT_RECEIPTS)),
  /** Receipts with a higher number are not stored here any more: the agent tells them again. */
  retell_after: v.optional(CountSchema),
  license: v.optional(compact(LIMITS.SMALL_JWS_BYTES)),
  trust: v.optional(TrustDocumentSchema),
});
export type BeatReply = v.InferOutput<typeof BeatReplySchema>;

/** The reply to an agent that is quarantined or ended: no chain, no jobs, no leases, orders only. */
export const HeldReplySchema = v.strictObject({
  v: v.literal(1),
  standing: v.literal("held"),
  time: EpochMillisSchema,
  interval_s: CountSchema,
  orders: ordersSchema,
  trust: v.optional(TrustDocumentSchema),
});
export type HeldReply = v.InferOutput<typeof HeldReplySchema>;

/** Whatever a heartbeat is answered with. */
export const BeatAnswerSchema = v.variant("standing", [BeatReplySchema, HeldReplySchema]);
export type BeatAnswer = v.InferOutput<typeof BeatAnswerSchema>;

/**
 * `POST /v1/rekey`, sent with the old key's bearer and proof. `order` is the `recover` order as it came; `proof` a JWS
 * by the new identity key over {@link RekeyClaimsSchema}. The same new key gets the same answer until it has beaten.
 */
export const RekeyRequestSchema = v.strictObject({
  v: v.literal(1),
  order: compact(LIMITS.SMALL_JWS_BYTES),
  identity_jwk: Ed25519JwkSchema,
  sealing_jwk: X25519JwkSchema,
  proof: compact(LIMITS.SMALL_JWS_BYTES),
});
export type RekeyRequest = v.InferOutput<typeof RekeyRequestSchema>;

/** Claims of an `agentina-rekey+jws`: the new key takes the place of `old_jkt` on this order. */
export const RekeyClaimsSchema = v.strictObject({
  v: v.literal(1),
  agent: AgentIdSchema,
  old_jkt: ThumbprintSchema,
  order_sha256: Sha256Schema,
  sealing_x: X25519JwkSchema.entries.x,
});

/**
 * A license of the next epoch, bound to the new key, and the beginning of a new heartbeat chain. `receipts` is the head
 * of the receipt chain as it is stored here (0 and 64 zeros for none): an agent whose own head is behind, because its
 * state was brought back from a copy, goes on from this one. Receipts signed by the old key that are still owed are
 * delivered in later beats; the server takes the signature of any key this agent has had.
 */
export const RekeyReplySchema = v.strictObject({
  v: v.literal(1),
  receipts: v.strictObject({ seq: CountSchema, sha256: Sha256Schema }),
  license: compact(LIMITS.SMALL_JWS_BYTES),
  beat: v.strictObject({ n: CountSchema, nonce }),
});
export type RekeyReply = v.InferOutput<typeof RekeyReplySchema>;

/**
 * `POST /v1/readmit`, with a proof by the identity key: an agent that a Control Plane brought back from a backup does not
 * know shows the license it was given since. The server takes it back in standby, for an admin to confirm; its next
 * heartbeat brings the rest.
 */
export const ReadmitRequestSchema = v.strictObject({
  v: v.literal(1),
  license: compact(LIMITS.SMALL_JWS_BYTES),
  identity_jwk: Ed25519JwkSchema,
  sealing_jwk: X25519JwkSchema,
});
export type ReadmitRequest = v.InferOutput<typeof ReadmitRequestSchema>;
export const ReadmitReplySchema = v.strictObject({ v: v.literal(1), agent_id: AgentIdSchema });

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
