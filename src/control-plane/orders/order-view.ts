import type { AgentStandingName, AgentView, OrderView } from "../../protocol/api.ts";
import type { AgentRecord } from "../store/agents.ts";
import type { AgentRow, OrderRow } from "../store/schema.ts";
import { orderIn } from "./settle.ts";

/** An order as people are shown it. */
export function orderView(row: OrderRow): OrderView {
  const { epoch, seq, type, state, reason, given_by, given_at, delivered_at, settled_at } = row;
  return { epoch, seq, type, state, about: about(row), reason, given_by, given_at, delivered_at, settled_at };
}

function about(row: OrderRow): string | null {
  const order = orderIn(row);
  switch (order.type) {
    case "cancel":
      return order.jti;
    case "recover":
      return order.inst;
    case "reseal":
      return `seal ${order.ctr}`;
    case "stop":
    case "terminal":
      return `${order.grace_s} s`;
    case "drain":
    case "resume":
    case "quarantine":
      return null;
  }
}

const UNCONFIRMED = "it came back after a restore with a license the backup does not know";

/** How the Control Plane treats the agent, and why if not as usual. */
function standingOfRow(agent: AgentRow): { standing: AgentStandingName; standing_reason: string | null } {
  if (agent.ended_at !== null) return { standing: "ended", standing_reason: agent.end_reason };
  if (agent.terminated_at !== null) return { standing: "ending", standing_reason: agent.end_reason };
  if (agent.quarantined_at !== null) {
    return { standing: "quarantined", standing_reason: agent.quarantine_reason };
  }
  if (agent.unconfirmed_since !== null) return { standing: "unconfirmed", standing_reason: UNCONFIRMED };
  return { standing: "live", standing_reason: null };
}

/** An agent as people are shown it, with its open orders. */
export function agentView(
  { agent, beat }: AgentRecord,
  open: readonly OrderRow[],
  openAnomalies: number,
): AgentView {
  return {
    id: agent.id,
    account_id: agent.account_id,
    hostname: agent.hostname,
    version: beat.version,
    ...standingOfRow(agent),
    state: beat.state,
    slot_held: agent.slot_since !== null,
    last_beat_at: beat.last_beat_at,
    in_flight: beat.in_flight,
    capacity: beat.capacity,
    epoch: agent.epoch,
    created_at: agent.created_at,
    open_orders: open.filter(({ agent_id }) => agent_id === agent.id).map(orderView),
    open_anomalies: openAnomalies,
  };
}
