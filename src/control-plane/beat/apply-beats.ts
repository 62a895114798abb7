import { type Fault, fault } from "../../fault/fault.ts";
import { newNonce } from "../../trust/proof.ts";
import { replayed } from "../auth/dpop.ts";
import type { Settled } from "../store/group-commit.ts";
import type { Writer } from "../store/schema.ts";
import type { BeatInput, BeatOutcome } from "./beat-input.ts";
import { type ChainBeat, type ChainState, type ChainVerdict, joinedChain, judgeBeat } from "./chain.ts";
import { chainFinding, examine, quarantiningOf } from "./findings.ts";
import { answerEnded, answerRetired, holdBeat, quarantineFor } from "./held-beat.ts";
import { type BeatDeps, type Known, noted } from "./known-agent.ts";
import { proceed } from "./live-beat.ts";
import { judgeMisfit } from "./resync.ts";
import { standingOf } from "./standing.ts";
import { recordFindings, World } from "./world.ts";

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

/** In the order of what is asked: is the request new, whose key is it, may the agent go on, is it its turn. */
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
  if (record.agent.jkt !== input.jkt) {
    const retired = world.retired.get(input.jkt);
    if (retired?.agent_id === input.agentId) {
      return accepted(await answerRetired(world, input, retired, deps));
    }
    return refused(fault("BEARER_INVALID", { why: "it is bound to a key that is not this agent's" }));
  }
  const known: Known = { input, record, plan };
  if (record.agent.quarantined_at !== null) return accepted(await holdBeat(db, world, known, deps));
  const chain = JSON.parse(record.beat.chain) as ChainState;
  const shown: ChainBeat = { ...input.request.beat, iatS: input.iatS };
  const verdict = judgeBeat(chain, shown, newNonce(deps.random));
  switch (verdict.verdict) {
    case "late":
      return refused(fault("BEAT_LATE", { why: verdict.why }));
    case "repeated":
      return accepted(repeat(world, known, deps));
    case "anomaly":
      return await outOfChain(db, world, known, { chain, shown, verdict }, deps);
    case "advanced":
    case "reforked": {
      const retold = verdict.verdict === "reforked";
      return accepted(await inChain(db, world, known, verdict.chain, retold, deps));
    }
  }
}

const refused = (error: Fault): Settled<BeatOutcome> => ({ ok: false, error });
const accepted = (value: BeatOutcome): Settled<BeatOutcome> => ({ ok: true, value });

/** A beat in its turn, held against what is known of machine, state and program before anything is taken from it. */
async function inChain(
  db: Writer,
  world: World,
  known: Known,
  chain: ChainState,
  retold: boolean,
  deps: BeatDeps,
): Promise<BeatOutcome> {
  const { agent, beat } = known.record;
  const examination = examine(known.input.request, {
    fingerprint: agent.fingerprint,
    sealCtr: beat.seal_ctr,
    headSeq: beat.head_seq,
    head: beat.head,
  });
  const worst = agent.terminated_at === null ? quarantiningOf(examination.findings) : null;
  if (worst !== null) {
    const reason = `${worst.kind}: ${worst.evidence.what}`;
    return await quarantineFor(db, world, known, examination.findings, reason, deps);
  }
  return await proceed(db, world, { ...known, chain, retold, examination, resynchronised: false }, deps);
}

interface Misfit {
  readonly chain: ChainState;
  readonly shown: ChainBeat;
  readonly verdict: Extract<ChainVerdict, { verdict: "anomaly" }>;
}

/** A beat that does not fit: two hold the identity, an old copy of it speaks, or this server has forgotten some. */
async function outOfChain(
  db: Writer,
  world: World,
  known: Known,
  { chain, shown, verdict }: Misfit,
  deps: BeatDeps,
): Promise<Settled<BeatOutcome>> {
  const { input, record } = known;
  if (record.agent.terminated_at !== null) return accepted(await answerEnded(known, deps));
  const facts = { era: deps.era, agentEra: record.agent.era, expected: chain.n, shown: shown.n };
  switch (judgeMisfit(verdict, facts)) {
    case "resync": {
      const joined = joinedChain(shown, newNonce(deps.random));
      const examination = examine(input.request, {
        fingerprint: record.agent.fingerprint,
        ...{ sealCtr: 0, headSeq: 0, head: null },
      });
      const worst = quarantiningOf(examination.findings);
      if (worst !== null) {
        const reason = `${worst.kind}: ${worst.evidence.what}`;
        return accepted(await quarantineFor(db, world, known, examination.findings, reason, deps));
      }
      const resynced = { ...known, chain: joined, retold: true, examination, resynchronised: true };
      return accepted(await proceed(db, world, resynced, deps));
    }
    case "ahead": {
      const finding = chainFinding(verdict, input, { n: chain.n, last: chain.last });
      await recordFindings(db, [noted(known, finding)], deps.random);
      return refused(fault("BEAT_AHEAD", { shown: shown.n, expected: chain.n }));
    }
    case "anomaly": {
      const finding = chainFinding(verdict, input, { n: chain.n, last: chain.last });
      const reason = `${finding.kind}: ${finding.evidence.what}`;
      return accepted(await quarantineFor(db, world, known, [finding], reason, deps));
    }
  }
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
  const nothing = { changedJobs: [], toldAttempts: [], anomalies: [], events: [] };
  return { body: record.beat.reply ?? "", aftermath: { accountId, agentId, standing, ...nothing } };
}
