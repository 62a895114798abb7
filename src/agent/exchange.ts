import { type Fault, isFault } from "../fault/fault.ts";
import type { JobClaims } from "../protocol/job.ts";
import type { Grant } from "../protocol/receipt.ts";
import type { BeatReply, BeatRequest } from "../protocol/wire.ts";
import { type License, openLicense } from "../trust/license.ts";
import type { ReplayWindow } from "../trust/replay-window.ts";
import { renewTrust, type TrustSet } from "../trust/trust-set.ts";
import type { Log } from "./agent-log.ts";
import { type Judgement, judgeOffers, type LeaseChange, leaseChanges } from "./intake.ts";
import type { JobRow } from "./job-row.ts";
import { transition } from "./job-table.ts";
import type { Journal } from "./journal.ts";
import { type Ending, type ReceiptWriter, type SignedEnding, storeEnding } from "./receipts.ts";
import { abandoned, refusedBy } from "./verdict.ts";

/** What applying a reply needs and may not change. */
export interface ExchangeContext {
  readonly journal: Journal;
  readonly receipts: ReceiptWriter;
  readonly trust: TrustSet;
  readonly license: License;
  readonly log: Log;
  readonly jkt: string;
  readonly nowMs: number;
  /** Boot-clock time from which the reply's leases count. */
  readonly leasesFromBootMs: number;
  readonly latencyMs: number;
  /** Places still free, 0 when the agent's state lets it accept nothing. */
  readonly free: number;
  readonly accepting: boolean;
  readonly decide: (
    claims: JobClaims,
  ) => { readonly ok: true; readonly grant: Grant } | { readonly ok: false; readonly why: Fault };
}

/** What changed, for the caller's memory. Everything in it is already in the journal. */
export interface Applied {
  readonly trust: TrustSet;
  readonly license: License;
  readonly leases: readonly LeaseChange[];
  readonly judgements: readonly Judgement[];
}

/**
 * Takes a verified reply: judges first, then writes next nonce, license, trust, acknowledgements, leases and offers in
 * one transaction. When it throws, nothing of the reply has taken effect and the same beat is sent again.
 */
export async function applyReply(
  request: BeatRequest,
  reply: BeatReply,
  ctx: ExchangeContext,
): Promise<Applied> {
  const trust = await newerTrust(reply, ctx);
  const license = await newerLicense(reply, trust, ctx);
  const offers = await judgeOffers(ctx.accepting ? reply.jobs : [], {
    trust,
    license: license.claims,
    window: ctx.journal.window(),
    nowS: Math.floor(ctx.nowMs / 1000),
    free: ctx.free,
    acceptedBefore: (jti, attempt) => (ctx.journal.job(jti, attempt)?.state ?? "returned") !== "returned",
    decide: ctx.decide,
  });
  const leases = leaseChanges(
    request.jobs.filter((job) => job.state !== "returned"),
    reply.leases,
    ctx.leasesFromBootMs,
  );
  const endings = () => [...ungranted(leases, ctx.journal), ...refusals(offers.judgements, ctx.nowMs)];
  await ctx.receipts.write(endings, (signed) =>
    ctx.journal.atomically(() => {
      storeFrame(request, reply, ctx);
      if (license !== ctx.license) ctx.journal.writeMeta("license", license.text);
      if (trust !== ctx.trust) ctx.journal.writeMeta("trust", JSON.stringify(trust.document));
      storeLeases(leases, signed, ctx.journal);
      storeOffers(offers, signed, ctx);
    }),
  );
  return { trust, license, leases, judgements: offers.judgements };
}

async function newerTrust(reply: BeatReply, ctx: ExchangeContext): Promise<TrustSet> {
  if (!reply.trust) return ctx.trust;
  try {
    return await renewTrust(ctx.trust, reply.trust, Math.floor(ctx.nowMs / 1000));
  } catch (error) {
    if (!isFault(error)) throw error;
    ctx.log("error", "trust.refused", { code: error.code, why: error.message }); // the set in force stays in force
    return ctx.trust;
  }
}

async function newerLicense(reply: BeatReply, trust: TrustSet, ctx: ExchangeContext): Promise<License> {
  if (reply.license === undefined) return ctx.license;
  try {
    return await openLicense(reply.license, trust, { jkt: ctx.jkt, agentId: ctx.license.claims.sub });
  } catch (error) {
    if (!isFault(error)) throw error;
    ctx.log("error", "license.refused", { code: error.code, why: error.message }); // the one in force stays in force
    return ctx.license;
  }
}

/** Attempts this agent accepted, has not started and the server does not grant: they end here. */
function ungranted(leases: readonly LeaseChange[], journal: Journal): Ending[] {
  return leases.flatMap((lease) => {
    const job = lease.event === "lease_missing" ? journal.job(lease.jti, lease.attempt) : null;
    const ends = job !== null && transition(job.state, "lease_missing") === "finished";
    return ends ? [{ job, verdict: abandoned(job, "lease_missing") }] : [];
  });
}

function refusals(judgements: readonly Judgement[], nowMs: number): Ending[] {
  return judgements.flatMap((judgement) =>
    judgement.verdict === "refuse"
      ? [{ job: refusedJob(judgement.claims, judgement.sha256, nowMs), verdict: refusedBy(judgement.why) }]
      : [],
  );
}

const refusedJob = (claims: JobClaims, sha256: string, nowMs: number) => ({
  jti: claims.jti,
  attempt: claims.attempt,
  claims,
  envelopeSha256: sha256,
  grant: null,
  acceptedAt: nowMs,
  startedAt: null,
});

function storeFrame(
  request: BeatRequest,
  reply: BeatReply,
  { journal, nowMs, latencyMs }: ExchangeContext,
): void {
  journal.setChain({ n: reply.n, nonce: reply.next });
  journal.writeMeta("slot", JSON.stringify(reply.slot));
  journal.writeMeta("interval_s", String(reply.interval_s));
  const { state } = request.agent;
  journal.writeMeta("last_beat", JSON.stringify({ at: nowMs, latency_ms: latencyMs, state }));
  for (const sha256 of reply.acks) journal.acknowledge(sha256, nowMs);
  journal.forgetTold({
    rejected: request.rejected.map((row) => row.envelope_sha256),
    returned: request.jobs.filter((job) => job.state === "returned"),
  });
}

function storeLeases(
  leases: readonly LeaseChange[],
  signed: readonly SignedEnding[],
  journal: Journal,
): void {
  for (const { jti, attempt, event } of leases) {
    const row = journal.job(jti, attempt);
    // The attempt may have ended while the beat was on its way; its receipt speaks for it then.
    if (!row || transition(row.state, event) === null) continue;
    const ending = endingOf(row, signed);
    if (journal.advance(row, event) === "finished" && ending) storeEnding(journal, ending);
  }
}

function storeOffers(
  offers: { readonly judgements: readonly Judgement[]; readonly window: ReplayWindow },
  signed: readonly SignedEnding[],
  { journal, nowMs }: ExchangeContext,
): void {
  journal.setWindow(offers.window);
  for (const judgement of offers.judgements) {
    switch (judgement.verdict) {
      case "accept":
        journal.acceptJob(judgement.job, judgement.grant, nowMs);
        break;
      case "return":
        journal.addJob(judgement.claims, judgement.sha256, "returned", nowMs);
        break;
      case "refuse": {
        journal.addJob(judgement.claims, judgement.sha256, "finished", nowMs);
        const ending = endingOf(judgement.claims, signed);
        if (ending) storeEnding(journal, ending);
        break;
      }
      case "reject":
        journal.addRejected(judgement.sha256, judgement.why.code);
        break;
      case "known":
        // In flight, the next beat names it. Ended, its receipt is told again: the server has lost sight of the end.
        journal.tellAgain(judgement.claims.jti, judgement.claims.attempt);
        break;
    }
  }
}

const endingOf = (job: Pick<JobRow, "jti" | "attempt">, signed: readonly SignedEnding[]) =>
  signed.find((ending) => ending.job.jti === job.jti && ending.job.attempt === job.attempt);
