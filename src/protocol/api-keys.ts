import * as v from "valibot";
import { CountSchema, EpochSecondsSchema, lineSchema, ThumbprintSchema } from "./scalars.ts";
import { KEY_USES, TrustClaimsSchema } from "./trust.ts";

/** Paths of the routes for the Control Plane's own keys. */
export const KEYS_API = {
  keys: "/api/v1/keys",
  rotate: "/api/v1/keys/rotate",
  revoke: "/api/v1/keys/revoke",
  request: "/api/v1/keys/request",
  install: "/api/v1/keys/install",
} as const;

const KeyUseSchema = v.picklist(KEY_USES);

/**
 * `signs` now; `next`: known, and its turn comes; `retired`: signs no more, what it signed is good until it ends;
 * `ended`; `revoked`.
 */
export const KEY_STANDINGS = ["signs", "next", "retired", "ended", "revoked"] as const;

const KeyViewSchema = v.strictObject({
  use: KeyUseSchema,
  kid: ThumbprintSchema,
  standing: v.picklist(KEY_STANDINGS),
  nbf: EpochSecondsSchema,
  exp: EpochSecondsSchema,
  /** Until when it signs, if it does now. */
  signs_until: v.nullable(EpochSecondsSchema),
  revoked_at: v.nullable(EpochSecondsSchema),
});
export type KeyView = v.InferOutput<typeof KeyViewSchema>;

/** What asks for a person: a code for programs and a sentence. */
const KeyFindingSchema = v.strictObject({ code: v.string(), text: v.string() });
export type KeyFinding = v.InferOutput<typeof KeyFindingSchema>;

export const KeyListSchema = v.strictObject({
  root: v.strictObject({
    thumbprint: ThumbprintSchema,
    /** As activation tokens write it. */
    token_form: v.string(),
    on_server: v.boolean(),
  }),
  trust: v.strictObject({ seq: CountSchema, iat: EpochSecondsSchema, exp: EpochSecondsSchema }),
  keys: v.array(KeyViewSchema),
  findings: v.array(KeyFindingSchema),
});
export type KeyList = v.InferOutput<typeof KeyListSchema>;

/** Successors for keys of these uses; `now`: they sign at once, else in seven days. */
export const KeyRotateSchema = v.strictObject({
  uses: v.pipe(v.array(KeyUseSchema), v.minLength(1), v.maxLength(KEY_USES.length)),
  now: v.optional(v.boolean(), false),
});

export const KeyRevokeSchema = v.strictObject({
  kid: ThumbprintSchema,
  reason: v.pipe(lineSchema(512), v.minLength(1)),
});

/** The changes a key set that is signed elsewhere is to have. */
export const KeyRequestAskSchema = v.strictObject({
  rotate: v.optional(v.pipe(v.array(KeyUseSchema), v.maxLength(KEY_USES.length)), []),
  now: v.optional(v.boolean(), false),
  revoke: v.optional(v.pipe(v.array(ThumbprintSchema), v.maxLength(16)), []),
});

/** What `keys request` writes: the claims the trust root is asked to sign, and the root that is meant. */
export const KeyRequestSchema = v.strictObject({
  v: v.literal(1),
  format: v.literal("agentina-key-request"),
  root: ThumbprintSchema,
  claims: TrustClaimsSchema,
});
export type KeyRequest = v.InferOutput<typeof KeyRequestSchema>;
