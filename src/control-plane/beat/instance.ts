import type { Fingerprint, FingerprintComponent } from "../../protocol/trust.ts";
import type { BeatRequest } from "../../protocol/wire.ts";
import type { AgentRecord } from "../store/agents.ts";
import type { BeatRow, InstanceRow } from "../store/schema.ts";
import type { BeatInput } from "./beat-input.ts";

/** What an agent's row keeps of its last beat, as JSON. */
interface ToldFacts {
  readonly agent: BeatRequest["agent"];
  readonly host: BeatRequest["host"];
  readonly clock: BeatRequest["clock"];
  readonly boot: string;
  readonly fingerprint: Fingerprint;
  readonly unread: readonly FingerprintComponent[];
}

/** What the agent told of itself, as its row keeps it. */
export function toldBy({ request, nowMs, address }: BeatInput, before: BeatRow): Partial<BeatRow> {
  const { agent, capacity, host, clock, fingerprint, fingerprint_unknown: unread, seal } = request;
  const { inst, boot } = request.beat;
  const same = before.inst === inst;
  const facts: ToldFacts = { agent, host, clock, boot, fingerprint, unread };
  return {
    state: agent.state,
    version: agent.version,
    capacity: capacity.max,
    in_flight: capacity.in_flight,
    kinds: JSON.stringify(host.kinds),
    facts: JSON.stringify(facts),
    last_beat_at: nowMs,
    inst,
    inst_since: same ? before.inst_since : nowMs,
    inst_beats: same ? before.inst_beats + 1 : 1,
    address,
    ...(seal === null ? {} : { seal_ctr: seal.ctr, head_seq: seal.head_seq, head: seal.head }),
  };
}

/** The process that sent this beat, heard once. */
export function instanceOf(input: BeatInput, epoch: number): InstanceRow {
  const { request, nowMs } = input;
  const { beat, agent, host, seal } = request;
  return {
    agent_id: input.agentId,
    inst: beat.inst,
    account_id: input.accountId,
    epoch,
    address: input.address,
    boot: beat.boot,
    hostname: host.hostname,
    version: agent.version,
    state: agent.state,
    fingerprint: JSON.stringify(request.fingerprint),
    unread: JSON.stringify(request.fingerprint_unknown),
    seal_ctr: seal?.ctr ?? 0,
    head_seq: seal?.head_seq ?? 0,
    first_at: nowMs,
    last_at: nowMs,
    beats: 1,
  };
}

/** The process whose beat was accepted last, from the agent's rows; null when there is none, or it is noted by itself. */
export function instanceInChain({ agent, beat }: AgentRecord): InstanceRow | null {
  if (beat.inst === null || beat.inst_beats === 0) return null;
  if (beat.facts === null || beat.last_beat_at === null) return null;
  const facts = JSON.parse(beat.facts) as ToldFacts;
  return {
    agent_id: agent.id,
    inst: beat.inst,
    account_id: agent.account_id,
    epoch: agent.epoch,
    address: beat.address ?? "",
    boot: facts.boot,
    hostname: facts.host.hostname,
    version: facts.agent.version,
    state: facts.agent.state,
    fingerprint: JSON.stringify(facts.fingerprint),
    unread: JSON.stringify(facts.unread),
    seal_ctr: beat.seal_ctr,
    head_seq: beat.head_seq,
    first_at: beat.inst_since ?? beat.last_beat_at,
    last_at: beat.last_beat_at,
    beats: beat.inst_beats,
  };
}
