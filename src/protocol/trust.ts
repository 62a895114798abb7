import * as v from "valibot";
import { AccountIdSchema, AgentIdSchema, ControlPlaneIdSchema, LicenseIdSchema } from "./ids.ts";
import { LIMITS } from "./limits.ts";
import {
  CountSchema,
  Ed25519JwkSchema,
  EpochSecondsSchema,
  lineSchema,
  ThumbprintSchema,
  X25519JwkSchema,
} from "./scalars.ts";

/** One token class, one `typ`, one key. */
export const TYP = {
  trust: "agentina-trust+jws",
  license: "agentina-license+jwt",
  job: "agentina-job+jws",
  order: "agentina-order+jws",
  reply: "agentina-reply+jws",
  receipt: "agentina-receipt+jws",
  seal: "agentina-seal+jws",
  quarantine: "agentina-quarantine+jws",
  rekey: "agentina-rekey+jws",
  bearer: "at+jwt",
  dpop: "dpop+jwt",
  assertion: "client-authentication+jwt",
} as const;

export const KEY_USES = ["job", "order", "license"] as const;
export type KeyUse = (typeof KEY_USES)[number];

const KidSchema = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{8,64}$/));

/** Claims of `trust.jws`, signed by the trust root: which keys may sign what, and when. */
export const TrustClaimsSchema = v.strictObject({
  v: v.literal(1),
  iss: ControlPlaneIdSchema,
  seq: v.pipe(CountSchema, v.minValue(1)),
  iat: EpochSecondsSchema,
  exp: EpochSecondsSchema,
  keys: v.pipe(
    v.array(
      v.strictObject({
        use: v.picklist(KEY_USES),
        kid: KidSchema,
        jwk: Ed25519JwkSchema,
        nbf: EpochSecondsSchema,
        exp: EpochSecondsSchema,
        revoked_at: v.optional(EpochSecondsSchema),
      }),
    ),
    v.maxLength(64),
  ),
  enrol: v.strictObject({ kid: KidSchema, jwk: X25519JwkSchema }),
  fp_salt: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{22,64}$/)),
});
export type TrustClaims = v.InferOutput<typeof TrustClaimsSchema>;

/** `GET /.well-known/agentina`, also persisted as trust.json: the root key and what it signed. */
export const TrustDocumentSchema = v.strictObject({
  v: v.literal(1),
  root: Ed25519JwkSchema,
  trust: v.pipe(v.string(), v.maxLength(LIMITS.TRUST_DOCUMENT_BYTES)),
});
export type TrustDocument = v.InferOutput<typeof TrustDocumentSchema>;

const digest = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{22}$/));

/** HMAC of each identity component that could be read; `macs` is a sorted set. Raw values never leave the host. */
export const FingerprintSchema = v.strictObject({
  v: v.literal(1),
  components: v.strictObject({
    tpm_ek: v.optional(digest),
    product_uuid: v.optional(digest),
    machine_id: v.optional(digest),
    device_tree_serial: v.optional(digest),
    board_serial: v.optional(digest),
    root_disk: v.optional(digest),
    macs: v.optional(v.pipe(v.array(digest), v.maxLength(64))),
    chassis_serial: v.optional(digest),
    cpu_model: v.optional(digest),
    virtualisation: v.optional(digest),
  }),
  id: v.pipe(v.string(), v.regex(/^fp_[A-Za-z0-9_-]{32}$/)),
});
export type Fingerprint = v.InferOutput<typeof FingerprintSchema>;
export type FingerprintComponent = keyof Fingerprint["components"];
export const FINGERPRINT_COMPONENTS = Object.keys(
  FingerprintSchema.entries.components.entries,
) as readonly FingerprintComponent[];

/** Claims of the license JWT (RFC 7519), bound to the agent's key (`cnf.jkt`, RFC 7800) and fingerprint. */
export const LicenseClaimsSchema = v.strictObject({
  iss: ControlPlaneIdSchema,
  sub: AgentIdSchema,
  aud: v.literal("agentina"),
  jti: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{8,64}$/)),
  lic: LicenseIdSchema,
  tenant: AccountIdSchema,
  plan: lineSchema(64),
  max_agents: v.pipe(CountSchema, v.minValue(1)),
  max_concurrent_tasks_per_agent: v.pipe(CountSchema, v.minValue(1), v.maxValue(LIMITS.MAX_CONCURRENT_TASKS)),
  kinds: v.pipe(v.array(v.pipe(v.string(), v.maxLength(64))), v.maxLength(64)),
  fp: FingerprintSchema,
  weak: v.boolean(),
  cnf: v.strictObject({ jkt: ThumbprintSchema }),
  epoch: v.pipe(CountSchema, v.minValue(1)),
  era: v.pipe(CountSchema, v.minValue(1)),
  iat: EpochSecondsSchema,
  nbf: EpochSecondsSchema,
  exp: EpochSecondsSchema,
  offline_grace_s: CountSchema,
});
export type LicenseClaims = v.InferOutput<typeof LicenseClaimsSchema>;
