import type { AccountId, AgentId, RandomBytes } from "../../protocol/ids.ts";
import { newNonce } from "../../trust/proof.ts";
import { newChain } from "../beat/chain.ts";
import type { BeatRow } from "../store/schema.ts";

/** What stands in the place of an agent's heartbeats before its first, with a heartbeat chain that begins anew. */
export const firstBeat = (
  of: {
    readonly agentId: AgentId;
    readonly accountId: AccountId;
    readonly version: string;
    /** Number of the key set it has; 0 to have it told. */
    readonly trustSeq: number;
  },
  random: RandomBytes,
): BeatRow => ({
  agent_id: of.agentId,
  account_id: of.accountId,
  chain: JSON.stringify(newChain(newNonce(random))),
  reply: null,
  offer_seq: 0,
  trust_seq: of.trustSeq,
  state: null,
  version: of.version,
  capacity: 0,
  in_flight: 0,
  kinds: "[]",
  facts: null,
  last_beat_at: null,
  inst: null,
  inst_since: null,
  inst_beats: 0,
  address: null,
  seal_ctr: 0,
  head_seq: 0,
  head: null,
});
