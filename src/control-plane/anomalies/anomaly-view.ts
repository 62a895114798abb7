import type { AnomalySummary, AnomalyView, InstanceView } from "../../protocol/api.ts";
import type { Fingerprint, FingerprintComponent } from "../../protocol/trust.ts";
import { compareFingerprints } from "../../trust/fingerprint-match.ts";
import { instanceInChain } from "../beat/instance.ts";
import { agentView } from "../orders/order-view.ts";
import { orderIn } from "../orders/settle.ts";
import type { AgentRecord } from "../store/agents.ts";
import { evidenceOf, openAnomalyCounts } from "../store/anomalies.ts";
import { instancesOf } from "../store/instances.ts";
import { openOrders } from "../store/orders.ts";
import type { AnomalyRow, InstanceRow, OrderRow, Reader } from "../store/schema.ts";

export function anomalySummary(row: AnomalyRow, hostname: string): AnomalySummary {
  const { first, latest } = evidenceOf(row);
  const { id, agent_id, kind, state, count, first_at, last_at } = row;
  const { resolved_at, resolved_by, resolution } = row;
  const what = String((latest.at(-1) ?? first)["what"] ?? "");
  return {
    ...{ id, agent_id, hostname, kind, state, what, count, first_at, last_at },
    ...{ resolved_at, resolved_by, resolution },
  };
}

/** One case with all its evidence: what was found, and every process that spoke for the agent. */
export async function anomalyView(db: Reader, row: AnomalyRow, record: AgentRecord): Promise<AnomalyView> {
  const wanted = [{ accountId: row.account_id, agentId: row.agent_id }];
  const orders = await openOrders(db, wanted);
  const counts = await openAnomalyCounts(db, row.account_id);
  const { first, latest } = evidenceOf(row);
  return {
    ...anomalySummary(row, record.agent.hostname),
    agent: agentView(record, orders, counts.get(row.agent_id) ?? 0),
    evidence: { first, latest: [...latest] },
    instances: (await processesOf(db, record)).map((one) => instanceView(one, record, orders)),
  };
}

/** Every process known to have spoken for the agent in its present epoch, the one first seen first. */
export async function processesOf(db: Reader, record: AgentRecord): Promise<InstanceRow[]> {
  const { account_id, id, epoch } = record.agent;
  const kept = (await instancesOf(db, account_id, id)).filter((row) => row.epoch === epoch);
  // What the agent's own row says of the last accepted beat is not written down among the others yet.
  const last = instanceInChain(record);
  if (last === null) return kept;
  const known = kept.find(({ inst }) => inst === last.inst);
  const others = kept.filter(({ inst }) => inst !== last.inst);
  return [...others, known === undefined ? last : merged(last, known)].sort(
    (a, b) => a.first_at - b.first_at || (a.inst < b.inst ? -1 : 1),
  );
}

const merged = (a: InstanceRow, b: InstanceRow): InstanceRow => ({
  ...(a.last_at > b.last_at ? a : b),
  first_at: Math.min(a.first_at, b.first_at),
  last_at: Math.max(a.last_at, b.last_at),
  seal_ctr: Math.max(a.seal_ctr, b.seal_ctr),
  head_seq: Math.max(a.head_seq, b.head_seq),
  beats: a.beats + b.beats,
});

/** How the machine of a process compares with the enrolled one. */
export function machineOf({ fingerprint, unread }: InstanceRow, enrolled: string) {
  const shown = JSON.parse(fingerprint) as Fingerprint;
  const unknown = JSON.parse(unread) as FingerprintComponent[];
  const match = compareFingerprints(JSON.parse(enrolled) as Fingerprint, shown, unknown);
  return { shown, match };
}

/** Whether the process was heard since its agent is quarantined. */
export const heardSince = ({ last_at }: InstanceRow, { agent }: AgentRecord): boolean =>
  agent.quarantined_at !== null && last_at >= agent.quarantined_at;

function instanceView(row: InstanceRow, record: AgentRecord, orders: readonly OrderRow[]): InstanceView {
  const { shown, match } = machineOf(row, record.agent.fingerprint);
  const { verdict, score, rule } = match;
  const lists = { changed: [...match.changed], lost: [...match.lost], enriched: [...match.enriched] };
  const picked = orders.some((order) => {
    const what = orderIn(order);
    return what.type === "recover" && what.inst === row.inst;
  });
  const { inst, address, boot, hostname, version, state, seal_ctr, head_seq, first_at, last_at, beats } = row;
  return {
    ...{ inst, in_chain: record.beat.inst === inst, heard_since: heardSince(row, record), picked },
    ...{ address, boot, hostname, version, state },
    fingerprint: { id: shown.id, verdict, score, rule, ...lists },
    ...{ seal_ctr, head_seq, first_at, last_at, beats },
  };
}
