import { LIMITS } from "../../protocol/limits.ts";
import type { Fingerprint } from "../../protocol/trust.ts";
import type { BeatReply, Slot } from "../../protocol/wire.ts";
import { newNonce } from "../../trust/proof.ts";
import { LICENSE_STALE, renewalDue, renewLicense } from "../activation/license.ts";
import type { KeyRing } from "../keys/keyring.ts";
import { carryOver, settledAs } from "../orders/new-order.ts";
import { dueWhenLive, takenOf, takenSeq } from "../orders/settle.ts";
import { adopt } from "../queue/held-jobs.ts";
import { provideSecrets, secretNames, withheldNames } from "../secrets/provide.ts";
import { resolveAnomalies } from "../store/anomalies.ts";
import { queuedJobs } from "../store/jobs.ts";
import { lastReceipt } from "../store/receipts.ts";
import type { AgentRow, JobRow, OrderRow, Writer } from "../store/schema.ts";
import { holdSlot } from "../store/slots.ts";
import type { AgentEvent, BeatOutcome } from "./beat-input.ts";
import type { ChainState } from "./chain.ts";
import { appetite, type BeatFacts, type BeatNews, offersFor, takeNews } from "./decide-beat.ts";
import { enrich } from "./enrolled-fingerprint.ts";
import type { BeatFinding, Examination } from "./findings.ts";
import { deliver, noteEnd } from "./held-beat.ts";
import { instanceInChain, toldBy } from "./instance.ts";
import { type BeatDeps, type Known, noted } from "./known-agent.ts";
import { changedBy, noteNews, signOffers, unusableFinding } from "./news-rows.ts";
import { epochAfter } from "./resync.ts";
import { standingOf } from "./standing.ts";
import { recordFindings, type World } from "./world.ts";

/** A beat in its right place, of an agent that may go on. */
export interface Accepted extends Known {
  /** The agent's chain after the beat. */
  readonly chain: ChainState;
  /** The reply before was lost, or its server was: what is told only once is told again. */
  readonly retold: boolean;
  readonly examination: Examination;
  /** The agent joins this server again after it was brought back from a backup. */
  readonly resynchronised: boolean;
}

/** Takes a beat in, offers what may be offered, and makes the reply. */
export async function proceed(
  db: Writer,
  world: World,
  known: Accepted,
  deps: BeatDeps,
): Promise<BeatOutcome> {
  const { input, record, plan, examination } = known;
  const { accountId, agentId, nowMs } = input;
  const ring = deps.keys.current();
  for (const job of await adopt(db, input)) {
    world.putJob(job);
    world.openLog(job);
  }
  await settleResealed(db, world, known);
  const due = takeOrders(world, known);
  const slot = await slotFor(db, known);
  const facts = factsOf(world, known, slot.held, due, deps);
  const news = takeNews(facts);
  noteNews(world, input, news);
  const { offers, withdrawn } = offersFor(facts, news, await queueFor(db, world, known, facts, news));
  const promoted = slot.held && record.agent.slot_since === null;
  const agent = promoted ? { ...record.agent, slot_since: nowMs, waiting_since: null } : record.agent;
  const provision = await provideSecrets(db, agent, offers, deps.vault, nowMs);
  const signed = await signOffers(provision.offers, { agent, beat: record.beat }, ring, nowMs);
  const moved = [...withdrawn, ...provision.kept, ...signed.map(({ job }) => job)];
  for (const job of moved) world.putJob(job);

  const renewed = await licensed(joined(world, agent, known, deps), known, deps);
  const orders = await deliver(world, renewed, due, ring, nowMs);
  const ended = await noteEnd(db, world, renewed, input);
  const body = JSON.stringify(await replyOf(db, known, { slot, orders, signed, news, agent: ended }, deps));
  noteProcess(world, known);
  const beat = {
    ...record.beat,
    ...(known.resynchronised ? { offer_seq: 0, seal_ctr: 0, head_seq: 0, head: null } : {}),
    ...toldBy(input, record.beat),
    chain: JSON.stringify(known.chain),
    reply: body,
    offer_seq: (known.resynchronised ? 0 : record.beat.offer_seq) + signed.length,
    trust_seq: ring.claims.seq,
  };
  const next = { agent: ended, beat };
  world.putAgent(next, ended !== agent);
  const findings = [...examination.findings, ...unusableFinding(news)];
  const anomalies = await noteFindings(db, known, findings, deps);
  const events: AgentEvent[] = [
    ...(known.resynchronised ? (["resynchronised"] as const) : []),
    ...(ended.ended_at !== agent.ended_at ? (["ended"] as const) : []),
  ];
  const changedJobs = [...new Map([...changedBy(news), ...moved].map((job) => [job.id, job])).values()];
  const toldAttempts = news.receipts.map(({ receipt: { claims } }) => ({
    job: claims.jti,
    attempt: claims.attempt,
  }));
  const standing = standingOf(next, plan, world.heldBy(agentId));
  return {
    body,
    aftermath: { accountId, agentId, changedJobs, toldAttempts, standing, anomalies, events },
  };
}

/** Settles the orders the agent has taken; answers those to tell it now. */
function takeOrders(world: World, { input, record, resynchronised }: Accepted): OrderRow[] {
  const taken = takenSeq(input.request.orders, record.agent.epoch);
  for (const order of takenOf(world.openOrders(input.agentId), taken)) {
    world.putOrder(order, settledAs(order, "taken", input.nowMs));
  }
  // Those of an epoch that ends with this reply are numbered anew, and told with the next one.
  if (resynchronised) return [];
  return dueWhenLive(world.openOrders(input.agentId), taken).slice(0, LIMITS.REPLY_ORDERS);
}

/** One told to end keeps the slot it has until it ends; one that nobody has confirmed yet gets none. */
async function slotFor(db: Writer, { input, record, plan }: Accepted): Promise<Slot> {
  const { agent } = record;
  const may = agent.terminated_at === null && agent.unconfirmed_since === null;
  if (may) return await holdSlot(db, agent, plan.max_agents, input.nowMs);
  return { held: agent.slot_since !== null, max_agents: plan.max_agents };
}

const factsOf = (
  world: World,
  { input, record, plan, resynchronised }: Accepted,
  slotHeld: boolean,
  due: readonly OrderRow[],
  { settings }: BeatDeps,
): BeatFacts => ({
  input,
  held: world.heldBy(input.agentId),
  slotHeld,
  licensedKinds: plan.kinds,
  maxConcurrent: plan.max_concurrent_tasks_per_agent,
  leaseTtlS: settings.leaseTtlS,
  // Orders are followed before jobs are looked at: what comes with a "drain" would only be handed back.
  mayTake:
    record.agent.terminated_at === null &&
    !resynchronised &&
    !due.some(({ type }) => type === "drain" || type === "stop"),
});

async function queueFor(
  db: Writer,
  world: World,
  { record }: Known,
  facts: BeatFacts,
  news: BeatNews,
): Promise<JobRow[]> {
  const { kinds, free } = appetite(facts, news);
  if (free === 0) return [];
  const { accountId } = facts.input;
  const wanted = { kinds, limit: free + world.takenAtMost };
  const jobs = world.queuedOf(accountId, await queuedJobs(db, accountId, wanted));
  if (jobs.every((job) => secretNames(job).length === 0)) return jobs;
  // What this agent may not be given must not stand in the way of what comes after it.
  const without = await withheldNames(db, record.agent);
  if (without.length === 0) return jobs;
  const others = world.queuedOf(accountId, await queuedJobs(db, accountId, { ...wanted, without }));
  return others.filter((job) => !secretNames(job).some((name) => without.includes(name)));
}

/** The agent as this beat leaves it: known in this era, with what its machine shows more than at enrolment. */
function joined(world: World, agent: AgentRow, known: Accepted, deps: BeatDeps): AgentRow {
  const { input, examination, resynchronised } = known;
  let next = agent;
  if (resynchronised) {
    const epoch = epochAfter(agent.epoch, input.request.orders.epoch);
    const carried = carryOver(world.openOrders(agent.id), { ...next, epoch }, input.nowMs);
    for (const { before, after } of carried.ended) world.putOrder(before, after);
    for (const order of carried.orders) world.giveOrder(order);
    next = { ...carried.agent, license_terms: LICENSE_STALE };
  }
  if (agent.era !== deps.era) next = { ...next, era: deps.era, license_terms: LICENSE_STALE };
  if (examination.enriched.length > 0) {
    const enrolled = JSON.parse(agent.fingerprint) as Fingerprint;
    const fingerprint = enrich(enrolled, input.request.fingerprint, examination.enriched);
    next = { ...next, fingerprint: JSON.stringify(fingerprint), license_terms: LICENSE_STALE };
  }
  return next;
}

async function licensed(agent: AgentRow, { input, plan }: Accepted, deps: BeatDeps): Promise<AgentRow> {
  const nowS = Math.floor(input.nowMs / 1000);
  if (agent.terminated_at !== null || !renewalDue(agent, plan, nowS)) return agent;
  const at = { nowS, jti: newNonce(deps.random), era: deps.era };
  return { ...agent, ...(await renewLicense(agent, plan, deps.keys.current(), at)) };
}

interface Answer {
  readonly slot: Slot;
  readonly orders: readonly string[];
  readonly signed: readonly { readonly jws: string }[];
  readonly news: BeatNews;
  readonly agent: AgentRow;
}

async function replyOf(
  db: Writer,
  { input, record, chain, retold, resynchronised }: Accepted,
  { slot, orders, signed, news, agent }: Answer,
  { keys, settings }: BeatDeps,
): Promise<BeatReply> {
  const ring: KeyRing = keys.current();
  const license = agent.license !== record.agent.license || retold;
  const last = resynchronised ? await lastReceipt(db, input.accountId, input.agentId) : null;
  return {
    v: 1,
    standing: "live",
    n: chain.n,
    next: chain.nonce,
    time: input.nowMs,
    interval_s: settings.intervalS,
    slot,
    jobs: signed.map(({ jws }) => jws),
    orders: [...orders],
    leases: [...news.leases],
    acks: [...news.acks],
    ...(resynchronised ? { retell_after: last?.seq ?? 0 } : {}),
    ...(license ? { license: agent.license } : {}),
    ...(record.beat.trust_seq !== ring.claims.seq || retold ? { trust: ring.document } : {}),
  };
}

/** When another process speaks, what was known of the one before is kept as evidence. */
function noteProcess(world: World, { input, record }: Accepted): void {
  if (record.beat.inst === input.request.beat.inst) return;
  const before = instanceInChain(record);
  if (before !== null) world.noteInstance(before);
}

async function noteFindings(
  db: Writer,
  known: Known,
  findings: readonly BeatFinding[],
  { random }: BeatDeps,
) {
  return await recordFindings(
    db,
    findings.map((finding) => noted(known, finding)),
    random,
  );
}

/** An accepted seal number settles what was found wrong under the one before, once the agent finds nothing any more. */
export async function settleResealed(db: Writer, world: World, { input, record }: Known): Promise<void> {
  const { agentId, accountId, request, nowMs } = input;
  if (request.integrity.length > 0 || request.agent.state === "tampered") return;
  const taken = takenSeq(request.orders, record.agent.epoch);
  const reseal = takenOf(world.openOrders(agentId), taken).find(({ type }) => type === "reseal");
  if (reseal === undefined) return;
  const how = { by: reseal.given_by, resolution: `resealed: ${reseal.reason}`, nowMs };
  await resolveAnomalies(db, { accountId, agentId, kinds: ["tampered"] }, how);
}
