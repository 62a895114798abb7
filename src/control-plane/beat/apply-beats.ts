import { type Fault, fault } from "../../fault/fault.ts";
import type { Plan } from "../../protocol/api.ts";
import type { LicenseId, RandomBytes } from "../../protocol/ids.ts";
import type { BeatReply } from "../../protocol/wire.ts";
import { newNonce } from "../../trust/proof.ts";
import { renewalDue, renewLicense } from "../activation/license.ts";
import { replayed } from "../auth/dpop.ts";
import type { KeyRing, KeySource } from "../keys/keyring.ts";
import { signEnvelope } from "../queue/envelope.ts";
import { jobAfter } from "../queue/job-table.ts";
import type { Settings } from "../settings.ts";
import type { AgentRecord } from "../store/agents.ts";
import type { Settled } from "../store/group-commit.ts";
import { queuedJobs } from "../store/jobs.ts";
import type { JobRow, Writer } from "../store/schema.ts";
import { holdSlot } from "../store/slots.ts";
import type { BeatInput, BeatOutcome } from "./beat-input.ts";
import { type ChainState, type ChainVerdict, judgeBeat } from "./chain.ts";
import { appetite, type BeatFacts, type BeatNews, offersFor, takeNews } from "./decide-beat.ts";
import { standingOf } from "./standing.ts";
import { World } from "./world.ts";

export interface BeatDeps {
  readonly keys: KeySource;
  readonly settings: Settings;
  readonly era: number;
  readonly random: RandomBytes;
}

/**
 * Applies a group of heartbeats in one transaction: everything is read at once, each beat is decided on values in the
 * order of arrival, and everything is written at once. A refused beat changes nothing but what is noted about it.
 */
export function beatApplier(deps: BeatDeps) {
  return async (db: Writer, inputs: readonly BeatInput[]): Promise<readonly Settled<BeatOutcome>[]> => {
    const world = await World.read(db, inputs);
    const results: Settled<BeatOutcome>[] = [];
    for (const input of inputs) results.push(await applyOne(db, world, input, deps));
    await world.write(db);
    return results;
  };
}

async function applyOne(
  db: Writer,
  world: World,
  input: BeatInput,
  deps: BeatDeps,
): Promise<Settled<BeatOutcome>> {
  if (!world.freshProofs.has(input.proof)) return refused(replayed());
  const record = world.agent(input.agentId);
  const plan = world.plans.get(input.accountId);
  if (record === undefined || plan === undefined) {
    return refused(fault("BEARER_INVALID", { why: "the agent it names is not known" }));
  }
  const chain = JSON.parse(record.beat.chain) as ChainState;
  const shown = { ...input.request.beat, iatS: input.iatS };
  const verdict = judgeBeat(chain, shown, newNonce(deps.random));
  switch (verdict.verdict) {
    case "late":
      return refused(fault("BEAT_LATE", { why: verdict.why }));
    case "anomaly":
      noteAnomaly(world, input, verdict, chain);
      return refused(fault("BEAT_STALE", { why: verdict.why }));
    case "repeated":
      return { ok: true, value: repeat(world, { input, record, plan }, deps) };
    case "advanced":
    case "reforked": {
      const retold = verdict.verdict === "reforked";
      const value = await proceed(db, world, { input, record, plan, chain: verdict.chain, retold }, deps);
      return { ok: true, value };
    }
  }
}

const refused = (error: Fault): Settled<BeatOutcome> => ({ ok: false, error });

function noteAnomaly(
  world: World,
  input: BeatInput,
  { kind, why }: Extract<ChainVerdict, { verdict: "anomaly" }>,
  chain: ChainState,
): void {
  const { accountId, agentId, nowMs, iatS, request } = input;
  const { beat, fingerprint, agent } = request;
  const shown = { ...beat, iat: iatS, fingerprint: fingerprint.id, version: agent.version };
  const evidence = { why, shown, expected: { n: chain.n, last: chain.last } };
  world.find({ accountId, agentId, kind: `chain_${kind}`, subject: beat.inst, evidence, nowMs });
}

interface Known {
  readonly input: BeatInput;
  readonly record: AgentRecord;
  readonly plan: Plan;
}

/** The same request again: the same reply, and its leases counted from this time of asking. */
function repeat(world: World, { input, record, plan }: Known, { settings }: BeatDeps): BeatOutcome {
  const { agentId, accountId, nowMs, request } = input;
  const named = new Set(request.jobs.map(({ jti, attempt }) => `${jti}.${attempt}`));
  for (const job of world.heldBy(agentId)) {
    if (job.lease_until === null || !named.has(`${job.id}.${job.attempt}`)) continue;
    world.putJob({ ...job, lease_until: nowMs + settings.leaseTtlS * 1000 });
  }
  const standing = standingOf(record, plan, world.heldBy(agentId));
  const aftermath = { accountId, agentId, changedJobs: [], toldAttempts: [], standing };
  return { body: record.beat.reply ?? "", aftermath };
}

interface Accepted extends Known {
  /** The agent's chain after the beat. */
  readonly chain: ChainState;
  /** The reply before was lost: what is told only once is told again. */
  readonly retold: boolean;
}

async function proceed(
  db: Writer,
  world: World,
  { input, record, plan, chain, retold }: Accepted,
  deps: BeatDeps,
): Promise<BeatOutcome> {
  const { accountId, agentId, nowMs } = input;
  const nowS = Math.floor(nowMs / 1000);
  const ring = deps.keys.current();
  const slot = await holdSlot(db, record.agent, plan.max_agents, nowMs);
  const promoted = slot.held && record.agent.slot_since === null;
  const agent = promoted ? { ...record.agent, slot_since: nowMs, waiting_since: null } : record.agent;
  const facts = factsOf(world, { input, plan }, slot.held, deps);
  const news = takeNews(facts);
  noteNews(world, input, news);
  const { offers, withdrawn } = offersFor(facts, news, await queueFor(db, world, facts, news));
  const signed = await signOffers(offers, { agent, beat: record.beat }, ring, nowMs);
  const moved = [...withdrawn, ...signed.map(({ job }) => job)];
  for (const job of moved) world.putJob(job);

  const due = renewalDue(agent, plan, nowS);
  const at = { nowS, jti: newNonce(deps.random), era: deps.era };
  const licensed = due ? { ...agent, ...(await renewLicense(agent, plan, ring, at)) } : agent;
  const reply: BeatReply = {
    v: 1,
    standing: "live",
    n: chain.n,
    next: chain.nonce,
    time: nowMs,
    interval_s: deps.settings.intervalS,
    slot,
    jobs: signed.map(({ jws }) => jws),
    orders: [],
    leases: [...news.leases],
    acks: [...news.acks],
    ...(due || retold ? { license: licensed.license } : {}),
    ...(record.beat.trust_seq !== ring.claims.seq || retold ? { trust: ring.document } : {}),
  };
  const body = JSON.stringify(reply);
  const beat = {
    ...record.beat,
    ...told(input),
    chain: JSON.stringify(chain),
    reply: body,
    offer_seq: record.beat.offer_seq + signed.length,
    trust_seq: ring.claims.seq,
  };
  const next = { agent: licensed, beat };
  world.putAgent(next, due);
  const changedJobs = [...new Map([...changedBy(news), ...moved].map((job) => [job.id, job])).values()];
  const toldAttempts = news.receipts.map(({ receipt: { claims } }) => ({
    job: claims.jti,
    attempt: claims.attempt,
  }));
  const standing = standingOf(next, plan, world.heldBy(agentId));
  return { body, aftermath: { accountId, agentId, changedJobs, toldAttempts, standing } };
}

const factsOf = (
  world: World,
  { input, plan }: Pick<Known, "input" | "plan">,
  slotHeld: boolean,
  { settings }: BeatDeps,
): BeatFacts => ({
  input,
  held: world.heldBy(input.agentId),
  slotHeld,
  licensedKinds: plan.kinds,
  maxConcurrent: plan.max_concurrent_tasks_per_agent,
  leaseTtlS: settings.leaseTtlS,
});

/** Puts what the beat said into the world. */
function noteNews(world: World, { accountId, agentId, nowMs }: BeatInput, news: BeatNews): void {
  for (const job of changedBy(news)) world.putJob(job);
  for (const job of news.leased) world.openLog(job);
  for (const { receipt, decides } of news.receipts) {
    const { claims, jws, sha256 } = receipt;
    const { jti: job, attempt } = claims;
    world.putReceipt({
      sha256,
      account_id: accountId,
      agent_id: agentId,
      job_id: job,
      attempt,
      seq: claims.seq,
      prev_sha256: claims.prev_sha256,
      jws,
      decided: decides ? 1 : 0,
      received_at: nowMs,
    });
    const log = { size: claims.log?.size ?? 0, sha256: claims.log?.sha256 ?? null };
    world.tellLog({ accountId, job, attempt, agentId, nowMs, ...log });
  }
  for (const { sha256, why } of news.unusable) {
    world.find({
      accountId,
      agentId,
      kind: "receipt_unusable",
      subject: sha256,
      evidence: { why },
      nowMs,
    });
  }
}

const changedBy = (news: BeatNews): JobRow[] => [...news.changed].flatMap((id) => news.jobs.get(id) ?? []);

async function queueFor(db: Writer, world: World, facts: BeatFacts, news: BeatNews): Promise<JobRow[]> {
  const { kinds, free } = appetite(facts, news);
  if (free === 0) return [];
  const { accountId } = facts.input;
  const rows = await queuedJobs(db, accountId, { kinds, limit: free + world.takenAtMost });
  return world.queuedOf(accountId, rows);
}

async function signOffers(
  offers: readonly JobRow[],
  { agent, beat }: AgentRecord,
  ring: KeyRing,
  nowMs: number,
): Promise<{ jws: string; job: JobRow }[]> {
  const nowS = Math.floor(nowMs / 1000);
  const key = ring.signer("job", nowS);
  const { id: agentId, epoch } = agent;
  const to = { issuer: ring.claims.iss, agentId, lic: agent.lic as LicenseId, epoch };
  return await Promise.all(
    offers.map(async (job, index) => {
      const seq = beat.offer_seq + 1 + index;
      const { jws, sha256 } = await signEnvelope(job, { ...to, seq }, key, nowS);
      const change = jobAfter(job, { type: "offered", agentId, envelope: sha256, nowMs });
      return { jws, job: { ...job, ...change } };
    }),
  );
}

/** What the agent told of itself, as its row keeps it. */
function told({ request, nowMs }: BeatInput) {
  const { agent, capacity, host, clock, fingerprint } = request;
  return {
    state: agent.state,
    version: agent.version,
    capacity: capacity.max,
    in_flight: capacity.in_flight,
    kinds: JSON.stringify(host.kinds),
    facts: JSON.stringify({ agent, host, clock, fingerprint: fingerprint.id }),
    last_beat_at: nowMs,
  };
}
