import * as v from "valibot";
import { AgentIdSchema, type Sha256, Sha256Schema } from "../protocol/ids.ts";
import { LIMITS } from "../protocol/limits.ts";
import { CountSchema, type Ed25519Jwk, ThumbprintSchema } from "../protocol/scalars.ts";
import { TYP } from "../protocol/trust.ts";
import { importVerifyKey, type SigningKey, thumbprint } from "./keys.ts";
import { signJws } from "./sign-jws.ts";
import { type JwsClass, openJws, sha256Of } from "./strict-jws.ts";

const digest = v.optional(Sha256Schema);

const DigestsSchema = v.strictObject({
  "license.jwt": digest,
  "agent.json": digest,
  "fingerprint.json": digest,
  "trust.json": digest,
  "keypair/identity.pem": digest,
  "keypair/sealing.pem": digest,
  "quarantine.jws": digest,
  "terminal.jws": digest,
});

/** The files of a state directory that a seal speaks for, by their exact names. */
export type SealedName = keyof v.InferOutput<typeof DigestsSchema>;
export const SEALED_NAMES = Object.keys(DigestsSchema.entries) as readonly SealedName[];

/** A digest for each file that is to be there. */
export type Digests = v.InferOutput<typeof DigestsSchema>;

const afterwards = v.optional(v.nullable(Sha256Schema));

const NextSchema = v.strictObject({
  "license.jwt": afterwards,
  "agent.json": afterwards,
  "fingerprint.json": afterwards,
  "trust.json": afterwards,
  "keypair/identity.pem": afterwards,
  "keypair/sealing.pem": afterwards,
  "quarantine.jws": afterwards,
  "terminal.jws": afterwards,
} satisfies Record<SealedName, typeof afterwards>);

/** What files are being changed to; null for one that goes. */
export type Changes = v.InferOutput<typeof NextSchema>;

/**
 * Claims of an `agentina-seal+jws`, signed by the agent's identity key: what its state files hold, under a number that
 * only grows. `next` says what is being changed right now: each file it names may be as `files` has it or as `next` has
 * it (null: not there). `trust_root` is the thumbprint of the root that activation pinned.
 */
export const SealClaimsSchema = v.strictObject({
  v: v.literal(1),
  agent: AgentIdSchema,
  ctr: v.pipe(CountSchema, v.minValue(1)),
  trust_root: ThumbprintSchema,
  files: DigestsSchema,
  next: v.optional(NextSchema),
});
export type SealClaims = v.InferOutput<typeof SealClaimsSchema>;

const SEAL: JwsClass<typeof SealClaimsSchema> = {
  what: "seal",
  typ: TYP.seal,
  maxBytes: LIMITS.SMALL_JWS_BYTES,
  schema: SealClaimsSchema,
};

/** Signs a seal. The same claims always give the same text (RFC 8032 signatures are deterministic). */
export const signSeal = (key: SigningKey, claims: SealClaims): Promise<string> =>
  signJws(TYP.seal, key, ordered(claims));

/** Verifies a seal under the identity key of the agent. Throws JWS_*. */
export async function openSeal(text: unknown, identity: Ed25519Jwk): Promise<SealClaims> {
  const kid = await thumbprint(identity);
  const key = await importVerifyKey(identity);
  return (await openJws(text, SEAL, (header) => (header.kid === kid ? key : null))).claims;
}

/** SHA-256 over what a seal says once no change is under way: with its number, all that a heartbeat tells of it. */
export function sealRoot({ next: _, ...claims }: SealClaims): Sha256 {
  return sha256Of(JSON.stringify(ordered(claims)));
}

/** What a file may be under these claims: one digest or absence (null), or two while it is being changed. */
export function allowedDigests(claims: SealClaims, name: SealedName): readonly (Sha256 | null)[] {
  const sealed = claims.files[name] ?? null;
  const next = claims.next?.[name];
  return next === undefined ? [sealed] : [next, sealed];
}

/**
 * The claims with the change ended: each file of `next` as it was found, if that is one of its two sides, else as it was
 * before, so that what somebody else put there stays found.
 */
export function settled(
  claims: SealClaims,
  found: (name: SealedName) => Sha256 | null | undefined,
): SealClaims {
  const files: Digests = { ...claims.files };
  for (const name of SEALED_NAMES) {
    const next = claims.next?.[name];
    if (next === undefined || found(name) !== next) continue;
    if (next === null) delete files[name];
    else files[name] = next;
  }
  const { next: _, ...rest } = claims;
  return { ...rest, files };
}

/** Members in one order, so that equal claims are equal bytes. */
function ordered({ v: version, agent, ctr, trust_root, files, next }: SealClaims): SealClaims {
  return {
    v: version,
    agent,
    ctr,
    trust_root,
    files: byName(files),
    ...(next === undefined ? {} : { next: byName(next) }),
  };
}

function byName<Value>(digests: Partial<Record<SealedName, Value>>): Partial<Record<SealedName, Value>> {
  return Object.fromEntries(
    SEALED_NAMES.flatMap((name) => (digests[name] === undefined ? [] : [[name, digests[name]]])),
  );
}
