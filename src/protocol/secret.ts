import { createHash } from "node:crypto";
import * as v from "valibot";
import { JobIdSchema, type Sha256, Sha256Schema } from "./ids.ts";
import { type JobClaims, JobKindSchema } from "./job.ts";
import { LIMITS } from "./limits.ts";
import { EpochMillisSchema, LabelsSchema } from "./scalars.ts";
import { EnvNameSchema } from "./scope.ts";

/** Paths of the operator-facing routes. Values go in and never come out. */
export const SECRETS_API = {
  secrets: "/api/v1/secrets",
  secret: (name: string) => `/api/v1/secrets/${name}`,
} as const;

/**
 * What is wrong with a value, for a sentence that begins "its value", or null. A value is text for an environment
 * variable; one shorter than SECRET_MIN_BYTES is found in the middle of ordinary words, so no log could be kept free of
 * it and stay readable. White space at its ends does not count: it is what an editor or `echo` leaves.
 */
export function secretValueProblem(value: string): string | null {
  if (!value.isWellFormed()) return "is not well-formed Unicode";
  if (value.includes("\0")) return "holds NUL, which no environment variable can";
  if (Buffer.byteLength(value) > LIMITS.SECRET_BYTES) return `is longer than ${LIMITS.SECRET_BYTES} bytes`;
  if (Buffer.byteLength(value.trim()) < LIMITS.SECRET_MIN_BYTES) {
    return `has fewer than ${LIMITS.SECRET_MIN_BYTES} bytes besides white space: too short to be kept out of logs`;
  }
  return null;
}

/** Messages are our own: a schema's would repeat what it was given. */
const value = v.pipe(v.string("must be text"), v.maxLength(LIMITS.SECRET_BYTES, "is too long"));

const LimitsOfUse = {
  /** Kinds of jobs that may have it; none means all. */
  kinds: v.pipe(v.array(JobKindSchema), v.maxLength(64)),
  /** Labels an agent must carry, each with this value, to be sent it; none means any agent. */
  labels: LabelsSchema,
};

/** `PUT /api/v1/secrets/<name>`. Limits that are left out stay as they are; a new secret has none. */
export const SecretPutSchema = v.strictObject({
  value,
  kinds: v.optional(LimitsOfUse.kinds),
  labels: v.optional(LimitsOfUse.labels),
});
export type SecretPut = v.InferOutput<typeof SecretPutSchema>;

/** What is shown of a secret: everything but its value. */
export const SecretViewSchema = v.strictObject({
  name: EnvNameSchema,
  ...LimitsOfUse,
  updated_at: EpochMillisSchema,
  /** False when the Control Plane's key does not open it: it must be set again. */
  readable: v.boolean(),
});
export type SecretView = v.InferOutput<typeof SecretViewSchema>;
export const SecretListSchema = v.strictObject({ secrets: v.array(SecretViewSchema) });
export const SecretRemovedSchema = v.strictObject({ name: EnvNameSchema, removed: v.literal(true) });

/** What a job does, where it may reach, and on what. */
export type Work = Pick<JobClaims, "kind" | "payload" | "scope" | "blobs">;

/** SHA-256 over a job's work, whatever the order of members in which it is written. */
export function workDigest({ kind, payload, scope, blobs = [] }: Work): Sha256 {
  const text = JSON.stringify([kind, payload, scope, blobs], (_, value: unknown) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)))
      : value,
  );
  return v.parse(Sha256Schema, createHash("sha256").update(text).digest("hex"));
}

/**
 * What a job's JWE holds: the value, bound to the job, its work and the name it is for, so that a JWE moved into another
 * envelope or under another name opens to nothing. Whoever holds the key that signs jobs, and it alone, cannot give a
 * secret to work of his own. The value is base64url of UTF-8: its length then has one bound, whatever it holds.
 */
export const SealedSecretSchema = v.strictObject({
  v: v.literal(1),
  jti: JobIdSchema,
  work: Sha256Schema,
  name: EnvNameSchema,
  value: v.pipe(
    v.string("must be text"),
    v.maxLength(Math.ceil((LIMITS.SECRET_BYTES * 4) / 3), "is too long"),
  ),
});
export type SealedSecret = v.InferOutput<typeof SealedSecretSchema>;
