import { type Fault, fault } from "../fault/fault.ts";
import type { JobClaims } from "../protocol/job.ts";
import type { Grant } from "../protocol/receipt.ts";
import type { LicenseClaims } from "../protocol/trust.ts";
import type { BeatReply } from "../protocol/wire.ts";
import { type VerifiedJob, verifyJob } from "../trust/job.ts";
import type { ReplayWindow } from "../trust/replay-window.ts";
import { sha256Of } from "../trust/strict-jws.ts";
import type { TrustSet } from "../trust/trust-set.ts";

/** What becomes of one offered envelope. */
export type Judgement =
  | {
      readonly verdict: "accept";
      readonly job: VerifiedJob;
      readonly claims: JobClaims;
      readonly grant: Grant;
    }
  | { readonly verdict: "refuse"; readonly claims: JobClaims; readonly sha256: string; readonly why: Fault }
  | { readonly verdict: "return"; readonly claims: JobClaims; readonly sha256: string }
  | { readonly verdict: "known"; readonly claims: JobClaims }
  | { readonly verdict: "reject"; readonly sha256: string; readonly why: Fault };

export interface IntakeContext {
  /** Whether the agent's state lets it take anything: asked before an envelope is even opened. */
  readonly accepting: boolean;
  readonly trust: TrustSet;
  readonly license: LicenseClaims;
  readonly window: ReplayWindow;
  readonly nowS: number;
  /** Places still free. */
  readonly free: number;
  readonly acceptedBefore: (jti: string, attempt: number) => boolean;
  /** The operator's policy and the host, asked for one verified job. */
  readonly decide: (
    claims: JobClaims,
  ) => { readonly ok: true; readonly grant: Grant } | { readonly ok: false; readonly why: Fault };
}

/**
 * Judges the offers of a reply, lifecycle first, then one after the other, each against the window the one before left.
 * Nothing is written: the caller stores window and judgements in the transaction of the reply. What an agent that takes
 * nothing is offered is not looked at, and offered again.
 */
export async function judgeOffers(
  envelopes: readonly string[],
  ctx: IntakeContext,
): Promise<{ readonly judgements: readonly Judgement[]; readonly window: ReplayWindow }> {
  const judgements: Judgement[] = [];
  const taken = new Set<string>();
  let window = ctx.window;
  let free = ctx.free;
  if (!ctx.accepting) return { judgements, window };
  for (const envelope of envelopes) {
    const result = await verifyJob(envelope, {
      ...ctx,
      window,
      acceptedBefore: (jti, attempt) => taken.has(`${jti}/${attempt}`) || ctx.acceptedBefore(jti, attempt),
    });
    if (result.verdict === "unidentified") {
      judgements.push({ verdict: "reject", sha256: sha256Of(envelope), why: result.why });
      continue;
    }
    if (result.verdict === "known") {
      judgements.push({ verdict: "known", claims: result.claims });
      continue;
    }
    window = result.window;
    const judgement = judge(result, free, ctx);
    if (judgement.verdict === "accept") free -= 1;
    taken.add(`${judgement.claims.jti}/${judgement.claims.attempt}`);
    judgements.push(judgement);
  }
  return { judgements, window };
}

/** The receipt repeats the grant and must fit a beat together with the result; one that does not would never arrive. */
const GRANT_BYTES_MAX = 262_144;

type Identified = Exclude<
  Awaited<ReturnType<typeof verifyJob>>,
  { verdict: "unidentified" } | { verdict: "known" }
>;

function judge(
  result: Identified,
  free: number,
  ctx: IntakeContext,
): Exclude<Judgement, { verdict: "reject" | "known" }> {
  if (result.verdict === "refused") {
    return { verdict: "refuse", claims: result.claims, sha256: result.envelopeSha256, why: result.why };
  }
  const { claims, envelopeSha256: sha256 } = result.job;
  const decision = ctx.decide(claims);
  if (!decision.ok) return { verdict: "refuse", claims, sha256, why: decision.why };
  const bytes = Buffer.byteLength(JSON.stringify(decision.grant));
  if (bytes > GRANT_BYTES_MAX) {
    const why = fault("JOB_SCHEMA", {
      path: "scope",
      why: `has ${bytes} bytes, more than ${GRANT_BYTES_MAX}`,
    });
    return { verdict: "refuse", claims, sha256, why };
  }
  if (free <= 0) return { verdict: "return", claims, sha256 };
  return { verdict: "accept", job: result.job, claims, grant: decision.grant };
}

/** What the leases of a reply mean for the attempts this agent named in its request. */
export interface LeaseChange {
  readonly jti: string;
  readonly attempt: number;
  readonly event: "lease" | "lease_missing";
  /** Boot-clock time at which the lease ends, when it was granted or renewed. */
  readonly untilBootMs: number | null;
}

/** A lease counts from the instant the beat that confirmed it was made, so a slow reply never lengthens it. */
export function leaseChanges(
  named: readonly { readonly jti: string; readonly attempt: number }[],
  leases: BeatReply["leases"],
  fromBootMs: number,
): LeaseChange[] {
  return named.map(({ jti, attempt }) => {
    const lease = leases.find((candidate) => candidate.jti === jti && candidate.attempt === attempt);
    return lease
      ? { jti, attempt, event: "lease", untilBootMs: fromBootMs + lease.ttl_s * 1000 }
      : { jti, attempt, event: "lease_missing", untilBootMs: null };
  });
}

/** The refusal of every job on a host that has no policy. */
export const noPolicy = (path: string): Fault => fault("POLICY_MISSING", { path });
