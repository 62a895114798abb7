import { reasonOf } from "../../fault/fault.ts";
import type { Services } from "../api/services.ts";
import { skewFinding } from "../beat/findings.ts";
import { agentOfKeyAlone } from "../store/agents.ts";
import { recordFinding } from "../store/anomalies.ts";

/**
 * Notes that the agent with this key is refused for its clock, which it has proven to be its own by signing. Once in a few
 * minutes for each key; a failure to note it is for the log, not for the agent.
 */
export function noteSkew(jkt: string, seconds: number, services: Services): void {
  const nowMs = services.nowMs();
  if (!services.seen.admit(`clock.${jkt}`, nowMs)) return;
  write(jkt, seconds, nowMs, services).catch((error: unknown) => {
    services.log("error", "clock skew not noted", { why: reasonOf(error) });
  });
}

async function write(jkt: string, seconds: number, nowMs: number, services: Services): Promise<void> {
  const { store, random, log } = services;
  const agent = await agentOfKeyAlone(store.db, jkt);
  if (agent === null) return;
  const { kind, evidence } = skewFinding(seconds);
  const finding = {
    accountId: agent.account_id,
    agentId: agent.id,
    epoch: agent.epoch,
    kind,
    evidence,
    nowMs,
  };
  const { id, fresh } = await store.write((db) => recordFinding(db, finding, random));
  if (fresh) log("warn", "anomaly", { anomaly: id, agent: agent.id, kind, what: evidence.what });
}
