import type { Selectable } from "kysely";
import type { AccountId, AgentId } from "../../protocol/ids.ts";
import type { AgentRow, BeatRow, Reader, Tables, Writer } from "./schema.ts";

/** An agent with what its heartbeats left. */
export interface AgentRecord {
  readonly agent: AgentRow;
  readonly beat: BeatRow;
}

export async function addAgent(db: Writer, agent: AgentRow, beat: BeatRow): Promise<void> {
  await db.insertInto("agents").values(agent).execute();
  await db.insertInto("beats").values(beat).execute();
}

export async function agentById(db: Reader, accountId: AccountId, id: AgentId): Promise<AgentRow | null> {
  const row = await db
    .selectFrom("agents")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("id", "=", id)
    .executeTakeFirst();
  return row ?? null;
}

/**
 * The agent a client assertion names, whatever its account: that is what the look-up is to tell. The caller must hold
 * the thumbprint of the agent's key, proven, and gets nothing for any other.
 */
export async function agentOfKey(db: Reader, id: AgentId, jkt: string): Promise<AgentRow | null> {
  const row = await db
    .selectFrom("agents")
    .selectAll()
    .where("id", "=", id)
    .where("jkt", "=", jkt)
    .executeTakeFirst();
  return row ?? null;
}

/** The agent whose present key this is, whatever its account; only for who has the key's proof. */
export async function agentOfKeyAlone(db: Reader, jkt: string): Promise<AgentRow | null> {
  return (await db.selectFrom("agents").selectAll().where("jkt", "=", jkt).executeTakeFirst()) ?? null;
}

/** Agents with their beats, by id; only those that belong to the account they are asked for with. */
export async function agentRecords(
  db: Reader,
  wanted: readonly { readonly accountId: AccountId; readonly agentId: AgentId }[],
): Promise<Map<AgentId, AgentRecord>> {
  const ids = wanted.map(({ agentId }) => agentId);
  const agents = await db.selectFrom("agents").selectAll().where("id", "in", ids).execute();
  const beats = await db.selectFrom("beats").selectAll().where("agent_id", "in", ids).execute();
  const beatOf = new Map(beats.map((beat) => [beat.agent_id, beat]));
  const accountOf = new Map(wanted.map(({ accountId, agentId }) => [agentId, accountId]));
  const records = new Map<AgentId, AgentRecord>();
  for (const agent of agents) {
    const beat = beatOf.get(agent.id);
    if (beat && agent.account_id === accountOf.get(agent.id)) records.set(agent.id, { agent, beat });
  }
  return records;
}

/** The account's agents, newest first. */
export async function listAgents(db: Reader, accountId: AccountId): Promise<AgentRecord[]> {
  const agents = await db
    .selectFrom("agents")
    .selectAll()
    .where("account_id", "=", accountId)
    .orderBy("created_at", "desc")
    .orderBy("id")
    .execute();
  const beats = await db.selectFrom("beats").selectAll().where("account_id", "=", accountId).execute();
  const beatOf = new Map(beats.map((beat) => [beat.agent_id, beat]));
  return agents.flatMap((agent) => {
    const beat = beatOf.get(agent.id);
    return beat === undefined ? [] : [{ agent, beat }];
  });
}

/** Writes what heartbeats changed, all in one statement. */
export async function saveBeats(db: Writer, beats: readonly Selectable<Tables["beats"]>[]): Promise<void> {
  if (beats.length === 0) return;
  await db
    .insertInto("beats")
    .values([...beats])
    .onConflict((conflict) =>
      conflict.column("agent_id").doUpdateSet((eb) => ({
        chain: eb.ref("excluded.chain"),
        reply: eb.ref("excluded.reply"),
        offer_seq: eb.ref("excluded.offer_seq"),
        trust_seq: eb.ref("excluded.trust_seq"),
        state: eb.ref("excluded.state"),
        version: eb.ref("excluded.version"),
        capacity: eb.ref("excluded.capacity"),
        in_flight: eb.ref("excluded.in_flight"),
        kinds: eb.ref("excluded.kinds"),
        facts: eb.ref("excluded.facts"),
        last_beat_at: eb.ref("excluded.last_beat_at"),
        inst: eb.ref("excluded.inst"),
        inst_since: eb.ref("excluded.inst_since"),
        inst_beats: eb.ref("excluded.inst_beats"),
        address: eb.ref("excluded.address"),
        seal_ctr: eb.ref("excluded.seal_ctr"),
        head_seq: eb.ref("excluded.head_seq"),
        head: eb.ref("excluded.head"),
      })),
    )
    .execute();
}

/** What changes about an agent in its life, but for its slot: that is the business of `slots`. */
export async function saveAgent(db: Writer, agent: AgentRow): Promise<void> {
  const { account_id, id, slot_since: _, waiting_since: __, created_at: ___, ...columns } = agent;
  await db
    .updateTable("agents")
    .set(columns)
    .where("account_id", "=", account_id)
    .where("id", "=", id)
    .execute();
}
