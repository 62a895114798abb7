import * as v from "valibot";

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_CHARS = 20;

const id = <Prefix extends string, Brand extends string>(prefix: Prefix, brand: Brand) =>
  v.pipe(
    v.string(),
    v.regex(new RegExp(`^${prefix}_[0-9A-Za-z]{${ID_CHARS}}$`), `must be an id of the form ${prefix}_…`),
    v.brand(brand),
  );

export const AgentIdSchema = id("agt", "AgentId");
export const JobIdSchema = id("job", "JobId");
export const LicenseIdSchema = id("lic", "LicenseId");
export const AccountIdSchema = id("acc", "AccountId");
export const ControlPlaneIdSchema = id("cp", "ControlPlaneId");
export type AgentId = v.InferOutput<typeof AgentIdSchema>;
export type JobId = v.InferOutput<typeof JobIdSchema>;
export type LicenseId = v.InferOutput<typeof LicenseIdSchema>;
export type AccountId = v.InferOutput<typeof AccountIdSchema>;
export type ControlPlaneId = v.InferOutput<typeof ControlPlaneIdSchema>;

/** SHA-256 in lower-case hex: of blobs, envelopes, receipts, logs. */
export const Sha256Schema = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{64}$/, "must be 64 hex digits"),
  v.brand("Sha256"),
);
export type Sha256 = v.InferOutput<typeof Sha256Schema>;

/** `n` base62 characters from `random` bytes. Rejection-free: every byte pair is folded, bias < 2^-10 a character. */
export function base62(random: Uint8Array, chars: number): string {
  let text = "";
  for (let i = 0; i < chars; i++) {
    const pair = ((random[2 * i] ?? 0) << 8) | (random[2 * i + 1] ?? 0);
    text += BASE62[pair % 62];
  }
  return text;
}

/** How many random bytes `base62(…, chars)` consumes. */
export const base62Bytes = (chars: number): number => chars * 2;

/** A big-endian number written in base62, left-padded to `chars`: the lossless form of a digest inside a token. */
export function base62Digest(bytes: Uint8Array, chars: number): string {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  let text = "";
  for (let i = 0; i < chars; i++) {
    text = `${BASE62[Number(value % 62n)]}${text}`;
    value /= 62n;
  }
  return text;
}

/** Source of `count` random bytes; the real one is `crypto.getRandomValues`. */
export type RandomBytes = (count: number) => Uint8Array;

const make = (prefix: string, random: RandomBytes) =>
  `${prefix}_${base62(random(base62Bytes(ID_CHARS)), ID_CHARS)}`;
export const newAgentId = (random: RandomBytes): AgentId => v.parse(AgentIdSchema, make("agt", random));
export const newJobId = (random: RandomBytes): JobId => v.parse(JobIdSchema, make("job", random));
export const newLicenseId = (random: RandomBytes): LicenseId => v.parse(LicenseIdSchema, make("lic", random));
export const newAccountId = (random: RandomBytes): AccountId => v.parse(AccountIdSchema, make("acc", random));
export const newControlPlaneId = (random: RandomBytes): ControlPlaneId =>
  v.parse(ControlPlaneIdSchema, make("cp", random));
