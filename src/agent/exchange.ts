import { type Fault, fault, isFault } from "../fault/fault.ts";
import type { JobClaims } from "../protocol/job.ts";
import type { OrderType } from "../protocol/order.ts";
import type { Grant } from "../protocol/receipt.ts";
import type { BeatAnswer, BeatReply, BeatRequest, HeldReply } from "../protocol/wire.ts";
import { type License, openLicense } from "../trust/license.ts";
import type { ReplayWindow } from "../trust/replay-window.ts";
import { renewTrust, type TrustSet } from "../trust/trust-set.ts";
import type { Log } from "./agent-log.ts";
import { type Judgement, judgeOffers, type LeaseChange, leaseChanges } from "./intake.ts";
import type { JobRow } from "./job-row.ts";
import { IN_FLIGHT, transition } from "./job-table.ts";
import type { Journal } from "./journal.ts";
import { judgeOrders, type OrderPlan, orderEndings, storeOrders } from "./orders.ts";
import { type Ending, type ReceiptWriter, type SignedEnding, storeEnding } from "./receipts.ts";
import { standing } from "./standing.ts";
import { abandoned, refusedBy } from "./verdict.ts";

/** What applying an answer needs and may not change. */
export interface ExchangeContext {
  readonly journal: Journal;
  readonly receipts: ReceiptWriter;
  readonly trust: TrustSet;
  readonly license: License;
  readonly log: Log;
  readonly jkt: string;
  readonly inst: string;
  readonly nowMs: number;
  /** Boot-clock time from which the reply's leases count. */
  readonly leasesFromBootMs: number;
  readonly latencyMs: number;
  readonly capacity: number;
  /** Whether the agent's state, before the answer, lets it accept anything. */
  readonly accepting: boolean;
  readonly tampered: boolean;
  readonly resealProblem: (ctr: number) => string | null;
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
  readonly orders: OrderPlan;
}

/**
 * Takes a verified answer: judges first, then writes all of it in one transaction. When it throws, nothing of it has
 * taken effect and the same beat is sent again.
 */
export const applyAnswer = (
  request: BeatRequest,
  answer: BeatAnswer,
  ctx: ExchangeContext,
): Promise<Applied> =>
  answer.standing === "live" ? applyReply(request, answer, ctx) : applyHeld(request, answer, ctx);

/** Next nonce, license, trust, acknowledgements, orders, leases and offers. */
async function applyReply(request: BeatRequest, reply: BeatReply, ctx: ExchangeContext): Promise<Applied> {
  const { journal } = ctx;
  const trust = await newerTrust(reply, ctx);
  const license = await newerLicense(reply, trust, ctx);
  const { epoch } = license.claims;
  const orders = await ordersOf(reply, { ...ctx, trust, license });
  const offers = await judgeOffers(reply.jobs, {
    accepting: ctx.accepting && !orders.taken.some(({ claims }) => BARRING.has(claims.order.type)),
    trust,
    license: license.claims,
    window: journal.window(epoch),
    nowS: Math.floor(ctx.nowMs / 1000),
    free: ctx.capacity - journal.jobsIn(IN_FLIGHT).length,
    acceptedBefore: (jti, attempt) => (journal.job(jti, attempt)?.state ?? "returned") !== "returned",
    decide: ctx.decide,
  });
  const leases = leaseChanges(
    request.jobs.filter((job) => job.state !== "returned"),
    reply.leases,
    ctx.leasesFromBootMs,
  );
  const endings = () => {
    const ordered = orderEndings(orders, journal);
    const lost = ungranted(leases, journal).filter(
      ({ job }) => !ordered.some((one) => sameTry(one.job, job)),
    );
    return [...ordered, ...lost, ...refusals(offers.judgements, ctx.nowMs)];
  };
  await ctx.receipts.write(endings, (signed) =>
    journal.atomically(() => {
      storeFrame(request, reply, ctx);
      if (license !== ctx.license) storeLicense(license, ctx);
      if (trust !== ctx.trust) journal.writeMeta("trust", JSON.stringify(trust.document));
      storeOrders(orders, journal, epoch, ctx.nowMs);
      storeOrdered(orders, signed, journal);
      storeLeases(leases, signed, journal);
      storeOffers(offers, signed, { ...ctx, license });
    }),
  );
  return { trust, license, leases, judgements: offers.judgements, orders };
}

/** Orders that void the offers of the very reply that brings them. */
const BARRING: ReadonlySet<OrderType> = new Set(["quarantine", "terminal", "drain", "stop"]);

/** Orders and trust, nothing else: no chain, no jobs, no leases. */
async function applyHeld(request: BeatRequest, reply: HeldReply, ctx: ExchangeContext): Promise<Applied> {
  const { journal, license } = ctx;
  const trust = await newerTrust(reply, ctx);
  const orders = await ordersOf(reply, { ...ctx, trust });
  await ctx.receipts.write(
    () => orderEndings(orders, journal),
    (signed) =>
      journal.atomically(() => {
        storeBeat(request, reply, ctx);
        if (trust !== ctx.trust) journal.writeMeta("trust", JSON.stringify(trust.document));
        storeOrders(orders, journal, license.claims.epoch, ctx.nowMs);
        storeOrdered(orders, signed, journal);
      }),
  );
  return { trust, license, leases: [], judgements: [], orders };
}

const ordersOf = ({ orders }: Pick<BeatAnswer, "orders">, ctx: ExchangeContext): Promise<OrderPlan> => {
  const { epoch } = ctx.license.claims;
  return judgeOrders(orders, {
    ...ctx,
    license: ctx.license.claims,
    nowS: Math.floor(ctx.nowMs / 1000),
    lastSeq: standing.lastOrder(ctx.journal, epoch),
    quarantined: standing.quarantine(ctx.journal, epoch) !== null,
    ended: standing.end(ctx.journal) !== null,
  });
};

async function newerTrust(reply: Pick<BeatAnswer, "trust">, ctx: ExchangeContext): Promise<TrustSet> {
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
    const license = await openLicense(reply.license, trust, {
      jkt: ctx.jkt,
      agentId: ctx.license.claims.sub,
    });
    const { epoch } = ctx.license.claims;
    if (license.claims.epoch >= epoch) return license;
    throw fault("LICENSE_INVALID", {
      why: `it is of epoch ${license.claims.epoch} and this one of ${epoch}`,
    });
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

function storeFrame(request: BeatRequest, reply: BeatReply, ctx: ExchangeContext): void {
  const { journal, nowMs } = ctx;
  storeBeat(request, reply, ctx);
  journal.setChain({ n: reply.n, nonce: reply.next });
  journal.writeMeta("slot", JSON.stringify(reply.slot));
  if (reply.retell_after !== undefined) journal.retellAfter(reply.retell_after);
  for (const sha256 of reply.acks) journal.acknowledge(sha256, nowMs);
  journal.forgetTold({
    rejected: request.rejected.map((row) => row.envelope_sha256),
    returned: request.jobs.filter((job) => job.state === "returned"),
  });
}

function storeBeat(
  { agent: { state } }: BeatRequest,
  answer: BeatAnswer,
  { journal, nowMs, latencyMs }: ExchangeContext,
): void {
  journal.writeMeta("interval_s", String(answer.interval_s));
  const { standing: told } = answer;
  journal.writeDocument("last_beat", { at: nowMs, latency_ms: latencyMs, state, standing: told });
}

/** An epoch that begins under the same key ends no quarantine: only a recovery does, which gives the agent new keys. */
function storeLicense(
  { text, claims: { epoch } }: License,
  { journal, license: before }: ExchangeContext,
): void {
  const quarantine = standing.quarantine(journal, before.claims.epoch);
  journal.writeMeta("license", text);
  if (quarantine !== null) standing.setQuarantine(journal, { ...quarantine, epoch });
}

/** Ends what an order ended before its start. */
function storeOrdered(orders: OrderPlan, signed: readonly SignedEnding[], journal: Journal): void {
  for (const { job } of orderEndings(orders, journal)) {
    const ending = endingOf(job, signed);
    const row = journal.job(job.jti, job.attempt);
    if (!ending || !row) continue;
    journal.advance(row, "abandon");
    storeEnding(journal, ending);
  }
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
  { journal, nowMs, license }: ExchangeContext,
): void {
  journal.setWindow(offers.window, license.claims.epoch);
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

type Try = Pick<JobRow, "jti" | "attempt">;
const sameTry = (one: Try, other: Try) => one.jti === other.jti && one.attempt === other.attempt;
const endingOf = (job: Try, signed: readonly SignedEnding[]) =>
  signed.find((ending) => sameTry(ending.job, job));
