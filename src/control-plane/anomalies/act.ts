import { fault } from "../../fault/fault.ts";
import { type AnomalyAct, QUARANTINING } from "../../protocol/api.ts";
import { differenceOf } from "../../trust/fingerprint-match.ts";
import { LICENSE_STALE } from "../activation/license.ts";
import { giveOrder, requireAgent } from "../orders/give-order.ts";
import type { Given } from "../orders/new-order.ts";
import { type AgentRecord, saveAgent } from "../store/agents.ts";
import { resolveAnomalies } from "../store/anomalies.ts";
import type { AnomalyRow, InstanceRow, Writer } from "../store/schema.ts";
import { heardSince, machineOf, processesOf } from "./anomaly-view.ts";

/** A seal number for `reseal` leaves room for what the agent seals by itself until the order reaches it. */
const SEAL_MARGIN = 16;

/** What an admin does about a case. */
export interface Act {
  readonly act: AnomalyAct;
  /** The process that is meant; null when only one can be. */
  readonly inst: string | null;
  /** With `recover`: the machine the process runs on is the agent's from here on. */
  readonly rebind: boolean;
  readonly given: Given;
}

/**
 * Does what an admin decided. Answers the process that was meant, if one was. Throws ANOMALY_RESOLVED,
 * ANOMALY_INSTANCE_UNCLEAR, ANOMALY_MACHINE_DIFFERS, ANOMALY_NOT_AN_ALARM, AGENT_NOT_QUARANTINED, AGENT_ENDED.
 */
export async function actOn(db: Writer, row: AnomalyRow, act: Act): Promise<string | null> {
  if (row.state === "resolved") throw fault("ANOMALY_RESOLVED", { how: row.resolution ?? "" });
  const record = await requireAgent(db, row.account_id, row.agent_id);
  switch (act.act) {
    case "recover":
      return await recover(db, record, act);
    case "rebind":
      return await rebind(db, record, act);
    case "reseal":
      return await reseal(db, record, act);
    case "resolve":
      return await resolve(db, row, record, act);
  }
}

/** One process goes on: it is told so with its next heartbeat, makes new keys, and the old ones are over. */
async function recover(db: Writer, record: AgentRecord, { inst, rebind, given }: Act): Promise<string> {
  const { agent } = record;
  if (agent.terminated_at !== null) throw fault("AGENT_ENDED", { reason: agent.end_reason ?? "" });
  if (agent.quarantined_at === null) throw fault("AGENT_NOT_QUARANTINED");
  const picked = pick(await processesOf(db, record), record, inst);
  const { match } = machineOf(picked, agent.fingerprint);
  if (match.verdict === "mismatch" && !rebind) {
    throw fault("ANOMALY_MACHINE_DIFFERS", { why: differenceOf(match) });
  }
  const bound = rebind ? await bindTo(db, record, picked) : record;
  await giveOrder(db, bound.agent, { type: "recover", inst: picked.inst }, given);
  return picked.inst;
}

/** The machine a process last showed becomes the enrolled one. A license that says so follows. */
async function rebind(db: Writer, record: AgentRecord, { inst, given }: Act): Promise<string> {
  const picked = pick(await processesOf(db, record), record, inst);
  const { agent } = await bindTo(db, record, picked);
  const of = { accountId: agent.account_id, agentId: agent.id, kinds: ["fingerprint_drift"] as const };
  const how = { by: given.by, resolution: `rebound to ${picked.inst}: ${given.reason}`, nowMs: given.nowMs };
  await resolveAnomalies(db, of, how);
  return picked.inst;
}

async function bindTo(db: Writer, record: AgentRecord, picked: InstanceRow): Promise<AgentRecord> {
  const agent = { ...record.agent, fingerprint: picked.fingerprint, license_terms: LICENSE_STALE };
  await saveAgent(db, agent);
  return { ...record, agent };
}

/** The agent seals its files as they are, under a number above every one it has shown. */
async function reseal(db: Writer, record: AgentRecord, { given }: Act): Promise<null> {
  const shown = (await processesOf(db, record)).map(({ seal_ctr }) => seal_ctr);
  const ctr = Math.max(0, record.beat.seal_ctr, ...shown) + SEAL_MARGIN;
  await giveOrder(db, record.agent, { type: "reseal", ctr }, given);
  return null;
}

async function resolve(db: Writer, row: AnomalyRow, { agent }: AgentRecord, { given }: Act): Promise<null> {
  const stops = QUARANTINING.includes(row.kind) && agent.quarantined_at !== null;
  if (stops && agent.terminated_at === null) throw fault("ANOMALY_NOT_AN_ALARM");
  const of = { accountId: row.account_id, agentId: row.agent_id, kinds: [row.kind] };
  await resolveAnomalies(db, of, { by: given.by, resolution: given.reason, nowMs: given.nowMs });
  return null;
}

/** The process with this name, or the only one that can be meant: of a quarantined agent, one heard since then. */
function pick(processes: readonly InstanceRow[], record: AgentRecord, inst: string | null): InstanceRow {
  if (inst !== null) {
    const named = processes.find((one) => one.inst === inst);
    if (named === undefined) throw fault("API_NOT_FOUND", { what: `a process "${inst}" of this agent` });
    return named;
  }
  const quarantined = record.agent.quarantined_at !== null;
  const heard = quarantined
    ? processes.filter((one) => heardSince(one, record))
    : processes.filter((one) => one.inst === record.beat.inst);
  const [only, another] = heard;
  if (only !== undefined && another === undefined) return only;
  throw fault("ANOMALY_INSTANCE_UNCLEAR", { found: heard.length === 0 ? "none" : heard.length });
}
