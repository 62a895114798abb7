import { fault } from "../../fault/fault.ts";
import type { Services } from "../api/services.ts";
import { agentById } from "../store/agents.ts";
import type { AgentPrincipal } from "./principal.ts";

/** What may keep an agent from a route although its access token is good. */
export type AgentHindrance = "superseded" | "quarantined" | "ended";

/**
 * Refuses an agent that has lost its rights since its access token was made. Throws AGENT_SUPERSEDED, AGENT_QUARANTINED,
 * AGENT_ENDED, or BEARER_INVALID for one that is not known.
 */
export async function refuseHindered(
  { accountId, agentId, proven }: AgentPrincipal,
  refuses: readonly AgentHindrance[],
  { store }: Services,
): Promise<void> {
  if (refuses.length === 0) return;
  const agent = await agentById(store.db, accountId, agentId);
  if (agent === null) throw fault("BEARER_INVALID", { why: "the agent it names is not known" });
  if (refuses.includes("superseded") && agent.jkt !== proven.jkt) throw fault("AGENT_SUPERSEDED");
  if (refuses.includes("quarantined") && agent.quarantined_at !== null) {
    throw fault("AGENT_QUARANTINED", { reason: agent.quarantine_reason ?? "" });
  }
  if (refuses.includes("ended") && agent.ended_at !== null) {
    throw fault("AGENT_ENDED", { reason: agent.end_reason ?? "" });
  }
}
