import type { ExpressionBuilder } from "kysely";
import type { AccountId, AgentId } from "../../protocol/ids.ts";
import { LIMITS } from "../../protocol/limits.ts";
import type { Slot } from "../../protocol/wire.ts";
import { judgeSlot, type SlotStanding, type SlotVerdict, slotOf } from "../queue/slots.ts";
import { SETTINGS } from "../settings.ts";
import type { AgentRow, Reader, Tables, Writer } from "./schema.ts";

/** How the account's slots stand for an agent that waits since `sinceMs`. */
async function slotStanding(
  db: Reader,
  accountId: AccountId,
  agent: { readonly id: AgentId; readonly sinceMs: number },
  maxAgents: number,
  nowMs: number,
): Promise<SlotStanding> {
  const { holders } = await db
    .selectFrom("agents")
    .select((eb) => eb.fn.countAll<number>().as("holders"))
    .where("account_id", "=", accountId)
    .where("slot_since", "is not", null)
    .executeTakeFirstOrThrow();
  const { ahead } = await waiting(db, accountId, nowMs)
    .where((eb) =>
      eb.or([
        eb("agents.waiting_since", "<", agent.sinceMs),
        eb.and([eb("agents.waiting_since", "=", agent.sinceMs), eb("agents.id", "<", agent.id)]),
      ]),
    )
    .executeTakeFirstOrThrow();
  const evictable = holders < maxAgents ? null : await spareHolder(db, accountId, nowMs);
  return { maxAgents, holders: Number(holders), evictable, ahead: Number(ahead) };
}

/** Agents of the account that wait for a slot and are not silent themselves. */
export async function waitingCount(db: Reader, accountId: AccountId, nowMs: number): Promise<number> {
  return Number((await waiting(db, accountId, nowMs).executeTakeFirstOrThrow()).ahead);
}

/** The slot the agent holds; one that waits gets one as soon as one is free for it. */
export async function holdSlot(
  db: Writer,
  agent: Pick<AgentRow, "id" | "account_id" | "slot_since" | "waiting_since" | "created_at">,
  maxAgents: number,
  nowMs: number,
): Promise<Slot> {
  if (agent.slot_since !== null) return { held: true, max_agents: maxAgents };
  const waiting = { id: agent.id, sinceMs: agent.waiting_since ?? agent.created_at };
  const verdict = await claimSlot(db, agent.account_id, waiting, maxAgents, nowMs);
  if (verdict.verdict === "held") return slotOf(verdict, maxAgents, []);
  return slotOf(verdict, maxAgents, await holderNames(db, agent.account_id));
}

/** Who keeps an agent waiting: hosts of those that have held their slots longest. */
async function holderNames(db: Reader, accountId: AccountId): Promise<string[]> {
  const rows = await db
    .selectFrom("agents")
    .select("hostname")
    .where("account_id", "=", accountId)
    .where("slot_since", "is not", null)
    .orderBy("slot_since")
    .orderBy("id")
    .limit(LIMITS.SLOT_HOLDERS)
    .execute();
  return rows.map(({ hostname }) => hostname);
}

/**
 * An agent that is quarantined or has ended needs no slot: it is free at once, unless jobs of it hold leases. Then it goes
 * to the first who asks once they are over. Such an agent does not wait for one either.
 */
export async function leaveSlot(
  db: Writer,
  agent: Pick<AgentRow, "id" | "account_id">,
  keeps: boolean,
): Promise<void> {
  await db
    .updateTable("agents")
    .set({ waiting_since: null, ...(keeps ? {} : { slot_since: null }) })
    .where("account_id", "=", agent.account_id)
    .where("id", "=", agent.id)
    .execute();
}

/** An agent that may take work again waits for a slot if it has none. */
export async function awaitSlot(
  db: Writer,
  agent: Pick<AgentRow, "id" | "account_id">,
  nowMs: number,
): Promise<void> {
  await db
    .updateTable("agents")
    .set({ waiting_since: nowMs })
    .where("account_id", "=", agent.account_id)
    .where("id", "=", agent.id)
    .where("slot_since", "is", null)
    .execute();
}

/** Gives the agent a slot if one is free for it, taking it from a silent holder if need be, and writes that down. */
async function claimSlot(
  db: Writer,
  accountId: AccountId,
  agent: { readonly id: AgentId; readonly sinceMs: number },
  maxAgents: number,
  nowMs: number,
): Promise<SlotVerdict> {
  const verdict = judgeSlot(await slotStanding(db, accountId, agent, maxAgents, nowMs));
  if (verdict.verdict === "waits") return verdict;
  if (verdict.evict !== null) {
    await db
      .updateTable("agents")
      .set((eb) => ({ slot_since: null, waiting_since: waitingFrom(eb, nowMs) }))
      .where("account_id", "=", accountId)
      .where("id", "=", verdict.evict as AgentId)
      .execute();
  }
  await db
    .updateTable("agents")
    .set({ slot_since: nowMs, waiting_since: null })
    .where("account_id", "=", accountId)
    .where("id", "=", agent.id)
    .execute();
  return verdict;
}

/** After the plan shrank: those who got their slots last wait again, until as many hold one as may. */
export async function trimSlots(
  db: Writer,
  accountId: AccountId,
  maxAgents: number,
  nowMs: number,
): Promise<void> {
  const keep = db
    .selectFrom("agents")
    .select("id")
    .where("account_id", "=", accountId)
    .where("slot_since", "is not", null)
    .orderBy("slot_since")
    .orderBy("id")
    .limit(maxAgents);
  await db
    .updateTable("agents")
    .set((eb) => ({ slot_since: null, waiting_since: waitingFrom(eb, nowMs) }))
    .where("account_id", "=", accountId)
    .where("slot_since", "is not", null)
    .where("id", "not in", keep)
    .execute();
}

/** Quarantined or told to end: it gets no work, and keeps a slot only as long as its leases. */
const isOut = (eb: ExpressionBuilder<Tables, "agents">) =>
  eb.or([eb("agents.quarantined_at", "is not", null), eb("agents.terminated_at", "is not", null)]);

/** Who loses a slot waits for the next one, unless it is out. */
const waitingFrom = (eb: ExpressionBuilder<Tables, "agents">, nowMs: number) =>
  eb.case().when(isOut(eb)).then(null).else(nowMs).end();

const waiting = (db: Reader, accountId: AccountId, nowMs: number) =>
  db
    .selectFrom("agents")
    .innerJoin("beats", "beats.agent_id", "agents.id")
    .select((eb) => eb.fn.countAll<number>().as("ahead"))
    .where("agents.account_id", "=", accountId)
    .where("agents.waiting_since", "is not", null)
    // Who gets no slot, whatever is free, must not be waited for.
    .where("agents.unconfirmed_since", "is", null)
    .where((eb) => eb.not(isOut(eb)))
    .where((eb) =>
      eb(eb.fn.coalesce("beats.last_beat_at", "agents.created_at"), ">", nowMs - SETTINGS.SLOT_SILENCE_MS),
    );

async function spareHolder(db: Reader, accountId: AccountId, nowMs: number): Promise<AgentId | null> {
  const row = await db
    .selectFrom("agents")
    .innerJoin("beats", "beats.agent_id", "agents.id")
    .select("agents.id")
    .where("agents.account_id", "=", accountId)
    .where("agents.slot_since", "is not", null)
    .where((eb) =>
      eb.or([
        isOut(eb),
        eb(eb.fn.coalesce("beats.last_beat_at", "agents.created_at"), "<=", nowMs - SETTINGS.SLOT_SILENCE_MS),
      ]),
    )
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom("jobs")
            .select("jobs.id")
            .whereRef("jobs.agent_id", "=", "agents.id")
            .where("jobs.state", "in", ["leased", "running", "cancelling"])
            .where("jobs.lease_until", ">", nowMs),
        ),
      ),
    )
    .orderBy("beats.last_beat_at")
    .limit(1)
    .executeTakeFirst();
  return row?.id ?? null;
}
