import type { AnomalyKind } from "../../protocol/api.ts";
import { type AccountId, type AgentId, base62, base62Bytes, type RandomBytes } from "../../protocol/ids.ts";
import type { AnomalyRow, Reader, Writer } from "./schema.ts";

/** Something that should not happen, as it is found. */
export interface Finding {
  readonly accountId: AccountId;
  readonly agentId: AgentId;
  readonly epoch: number;
  readonly kind: AnomalyKind;
  /** Names and short values; `what` is the sentence for people. */
  readonly evidence: Readonly<Record<string, unknown>> & { readonly what: string };
  readonly nowMs: number;
}

/** What is kept of each time it was found. */
export interface Evidence {
  readonly first: Readonly<Record<string, unknown>>;
  readonly latest: readonly Readonly<Record<string, unknown>>[];
}

/** The last few findings stay; a case must not grow with whoever causes it. */
const LATEST = 8;
const EVIDENCE_CHARS = 4096;

/**
 * Writes a finding down: a new case, or one more count of the same kind that is open for the agent. Answers the case's id,
 * and whether it is new.
 */
export async function recordFinding(
  db: Writer,
  finding: Finding,
  random: RandomBytes,
): Promise<{ id: string; fresh: boolean }> {
  const { accountId, agentId, epoch, kind, nowMs } = finding;
  const found = bounded({ at: nowMs, ...finding.evidence });
  const known = await db
    .selectFrom("anomalies")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("agent_id", "=", agentId)
    .where("kind", "=", kind)
    .where("state", "=", "open")
    .executeTakeFirst();
  if (known === undefined) {
    const id = `ano_${base62(random(base62Bytes(20)), 20)}`;
    const evidence: Evidence = { first: found, latest: [] };
    await db
      .insertInto("anomalies")
      .values({
        ...{ id, account_id: accountId, agent_id: agentId, kind, epoch },
        ...{ evidence: JSON.stringify(evidence), count: 1, first_at: nowMs, last_at: nowMs },
        ...{ state: "open", resolved_at: null, resolved_by: null, resolution: null },
      })
      .execute();
    return { id, fresh: true };
  }
  const { first, latest } = evidenceOf(known);
  const evidence: Evidence = { first, latest: [...latest, found].slice(-LATEST) };
  await db
    .updateTable("anomalies")
    .set({ evidence: JSON.stringify(evidence), count: known.count + 1, last_at: nowMs })
    .where("account_id", "=", accountId)
    .where("id", "=", known.id)
    .execute();
  return { id: known.id, fresh: false };
}

export const evidenceOf = ({ evidence }: Pick<AnomalyRow, "evidence">): Evidence =>
  JSON.parse(evidence) as Evidence;

/** Evidence is what a stranger may have written: too much of it is left out, and that is said. */
function bounded(found: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const text = JSON.stringify(found);
  if (text.length <= EVIDENCE_CHARS) return found;
  return { at: found["at"], what: found["what"], cut: `${text.length} characters of evidence left out` };
}

/** The account's anomalies, the one last seen first. */
export async function listAnomalies(
  db: Reader,
  accountId: AccountId,
  filter: { readonly state: AnomalyRow["state"] | null; readonly limit: number },
): Promise<AnomalyRow[]> {
  const all = db.selectFrom("anomalies").selectAll().where("account_id", "=", accountId);
  const query = filter.state === null ? all : all.where("state", "=", filter.state);
  return await query.orderBy("last_at", "desc").orderBy("id").limit(filter.limit).execute();
}

export async function anomalyById(db: Reader, accountId: AccountId, id: string): Promise<AnomalyRow | null> {
  const row = await db
    .selectFrom("anomalies")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("id", "=", id)
    .executeTakeFirst();
  return row ?? null;
}

/** Open anomalies of the account's agents, by agent. */
export async function openAnomalyCounts(
  db: Reader,
  accountId: AccountId,
): Promise<ReadonlyMap<AgentId, number>> {
  const rows = await db
    .selectFrom("anomalies")
    .select((eb) => ["agent_id", eb.fn.countAll<number>().as("open")])
    .where("account_id", "=", accountId)
    .where("state", "=", "open")
    .groupBy("agent_id")
    .execute();
  return new Map(rows.map(({ agent_id, open }) => [agent_id, Number(open)]));
}

/** Closes the agent's open anomalies of these kinds. */
export async function resolveAnomalies(
  db: Writer,
  of: { readonly accountId: AccountId; readonly agentId: AgentId; readonly kinds: readonly AnomalyKind[] },
  how: { readonly by: string; readonly resolution: string; readonly nowMs: number },
): Promise<void> {
  await db
    .updateTable("anomalies")
    .set({ state: "resolved", resolved_at: how.nowMs, resolved_by: how.by, resolution: how.resolution })
    .where("account_id", "=", of.accountId)
    .where("agent_id", "=", of.agentId)
    .where("kind", "in", [...of.kinds])
    .where("state", "=", "open")
    .execute();
}
