import * as v from "valibot";
import { decodeBase64url } from "./base64url.ts";
import { LIMITS } from "./limits.ts";

/** A non-negative integer every JSON reader agrees on (RFC 8259 section 6). */
export const CountSchema = v.pipe(v.number(), v.safeInteger("must be an integer"), v.minValue(0));

/** Seconds since the Unix epoch, as JWT NumericDate without fractions (RFC 7519 section 2). */
export const EpochSecondsSchema = v.pipe(
  CountSchema,
  v.maxValue(253_402_300_799, "must be before the year 10000"),
);

/** 16 random bytes, base64url. */
export const NonceSchema = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{22}$/));

/** RFC 7638 SHA-256 thumbprint of a key, base64url. */
export const ThumbprintSchema = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/));

/** Milliseconds since the Unix epoch. */
export const EpochMillisSchema = v.pipe(CountSchema, v.maxValue(253_402_300_799_999));

// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what it keeps out
const CONTROL = /[\u0000-\u001f\u007f]/;

/** Text for people: at most `chars` characters, no control characters. */
export const lineSchema = (chars: number) =>
  v.pipe(
    v.string(),
    v.maxLength(chars),
    v.check((text) => !CONTROL.test(text), "must not hold control characters"),
  );

/** 32 bytes in their one spelling: with spare bits set, one key would have four texts and four thumbprints. */
const keyBytes = v.pipe(
  v.string(),
  v.check((text) => decodeBase64url(text)?.length === 32, "must be 32 bytes in base64url"),
);

/** Public Ed25519 key as JWK (RFC 8037 section 2). */
export const Ed25519JwkSchema = v.strictObject({
  kty: v.literal("OKP"),
  crv: v.literal("Ed25519"),
  x: keyBytes,
});
export type Ed25519Jwk = v.InferOutput<typeof Ed25519JwkSchema>;

/** Public X25519 key as JWK (RFC 8037 section 2). */
export const X25519JwkSchema = v.strictObject({
  kty: v.literal("OKP"),
  crv: v.literal("X25519"),
  x: keyBytes,
});
export type X25519Jwk = v.InferOutput<typeof X25519JwkSchema>;

/** A version of this product: MAJOR.MINOR.PATCH with an optional pre-release (semver 2.0). */
export const VersionSchema = v.pipe(
  v.string(),
  v.maxLength(64),
  v.regex(/^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/),
);

/** A host's or agent's label set; keys and values are short words. */
export const LabelsSchema = v.pipe(
  v.record(v.pipe(v.string(), v.regex(/^[a-z][a-z0-9_.-]{0,62}$/)), lineSchema(128)),
  v.check(
    (labels) => Object.keys(labels).length <= LIMITS.LABELS,
    `must hold at most ${LIMITS.LABELS} labels`,
  ),
);
