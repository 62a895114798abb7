import type * as v from "valibot";
import { type Fault, fault, isFault } from "../fault/fault.ts";
import type { Sha256 } from "../protocol/ids.ts";
import { isRunnableKind, type JobClaims, JobClaimsSchema, PAYLOAD_SCHEMAS } from "../protocol/job.ts";
import { parseValue } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import { type LicenseClaims, TYP } from "../protocol/trust.ts";
import { admit, type ReplayWindow } from "./replay-window.ts";
import { type JwsClass, openJws } from "./strict-jws.ts";
import type { TrustSet } from "./trust-set.ts";

const JOB: JwsClass<typeof JobClaimsSchema> = {
  what: "job",
  typ: TYP.job,
  maxBytes: LIMITS.JWS_BYTES,
  schema: JobClaimsSchema,
};

declare const verified: unique symbol;

/** A job this process has verified. `verifyJob` is the only maker; only what it made is ever written down as accepted. */
export interface VerifiedJob {
  readonly [verified]: true;
  readonly claims: JobClaims;
  readonly envelopeSha256: Sha256;
}

/** Everything the checks need, as values: nothing is read or written while they run. */
export interface JobContext {
  readonly trust: TrustSet;
  readonly license: LicenseClaims;
  readonly window: ReplayWindow;
  /** True when this (jti, attempt) was accepted before, whatever its seq. */
  readonly acceptedBefore: (jti: string, attempt: number) => boolean;
  readonly nowS: number;
}

/**
 * `unidentified`: refused before the claims could be trusted, so there is no job to write a receipt for.
 * `known`: an attempt accepted before, offered again; its row in the journal speaks for it.
 * `refused`: the claims are the Control Plane's, the job is refused with a receipt; `window` has the offer admitted.
 */
export type Verification =
  | { readonly verdict: "verified"; readonly job: VerifiedJob; readonly window: ReplayWindow }
  | {
      readonly verdict: "refused";
      readonly claims: JobClaims;
      readonly envelopeSha256: Sha256;
      readonly why: Fault;
      readonly window: ReplayWindow;
    }
  | { readonly verdict: "known"; readonly claims: JobClaims }
  | { readonly verdict: "unidentified"; readonly why: Fault };

/**
 * Checks one job envelope, in this order: size, strict syntax, key window and signature, type, schema, issuer, agent,
 * license, epoch, time, replay, kind. Lifecycle comes before it, scope and host after it.
 */
export async function verifyJob(envelope: unknown, ctx: JobContext): Promise<Verification> {
  let opened: Awaited<ReturnType<typeof open>>;
  try {
    opened = await open(envelope, ctx);
  } catch (error) {
    if (isFault(error)) return { verdict: "unidentified", why: error };
    throw error;
  }
  const { claims, sha256 } = opened;
  const binding = bindingProblem(claims, ctx) ?? timeProblem(claims, ctx.nowS);
  if (binding) return { verdict: "unidentified", why: binding };
  if (ctx.acceptedBefore(claims.jti, claims.attempt)) return { verdict: "known", claims };
  const admission = admit(ctx.window, claims.seq);
  if (!admission.ok) return { verdict: "unidentified", why: fault("JOB_REPLAYED", { why: admission.why }) };
  const why = kindProblem(claims, ctx.license);
  if (why) return { verdict: "refused", claims, envelopeSha256: sha256, why, window: admission.window };
  const job = { claims, envelopeSha256: sha256 } as VerifiedJob;
  return { verdict: "verified", job, window: admission.window };
}

const open = (envelope: unknown, ctx: JobContext) =>
  openJws(envelope, JOB, (header) => ctx.trust.keyFor("job", header.kid, ctx.nowS));

function bindingProblem(claims: JobClaims, { trust, license }: JobContext): Fault | null {
  if (claims.iss !== trust.issuer) return fault("JOB_WRONG_ISSUER", { found: claims.iss });
  if (claims.aud !== license.sub) return fault("JOB_WRONG_AGENT", { found: claims.aud });
  if (claims.lic !== license.lic) return fault("JOB_WRONG_LICENSE", { found: claims.lic });
  if (claims.epoch !== license.epoch) {
    return fault("JOB_WRONG_EPOCH", { found: claims.epoch, expected: license.epoch });
  }
  return null;
}

function timeProblem({ iat, nbf, exp }: JobClaims, nowS: number): Fault | null {
  if (exp - iat > LIMITS.JOB_LIFETIME_S) return fault("JOB_LIFETIME", { why: "it lives too long" });
  if (nbf < iat - LIMITS.CLOCK_TOLERANCE_S || exp <= nbf)
    return fault("JOB_LIFETIME", { why: "it ends before it begins" });
  const begins = Math.max(iat, nbf) - LIMITS.CLOCK_TOLERANCE_S;
  if (nowS < begins) return fault("JOB_NOT_YET_VALID", { seconds: begins - nowS });
  if (nowS >= exp + LIMITS.CLOCK_TOLERANCE_S) return fault("JOB_EXPIRED", { seconds: nowS - exp });
  return null;
}

function kindProblem(claims: JobClaims, license: LicenseClaims): Fault | null {
  if (!isRunnableKind(claims.kind)) return fault("JOB_KIND_UNKNOWN", { kind: claims.kind });
  if (!license.kinds.includes(claims.kind)) return fault("JOB_KIND_UNLICENSED", { kind: claims.kind });
  const payload = parseValue(claims.payload, PAYLOAD_SCHEMAS[claims.kind] as v.GenericSchema);
  return payload.ok ? null : fault("JOB_SCHEMA", { path: `payload.${payload.path}`, why: payload.why });
}
