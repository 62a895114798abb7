import type { Plan } from "../../protocol/api.ts";
import { freePlaces, takesWork } from "../queue/offers.ts";
import type { AgentRecord } from "../store/agents.ts";
import type { JobRow } from "../store/schema.ts";

/** What an agent could be given now, as of its last heartbeat. */
export interface AgentStanding {
  readonly kinds: readonly string[];
  /** Places left, offers under way counted as taken; 0 for one that takes no work. */
  readonly free: number;
  /** Whether all it lacks is a slot. */
  readonly waits: boolean;
}

/** The standing of an agent with these jobs. Pure. */
export function standingOf({ agent, beat }: AgentRecord, plan: Plan, held: readonly JobRow[]): AgentStanding {
  const kinds = (JSON.parse(beat.kinds) as string[]).filter((kind) =>
    plan.kinds.some((licensed) => licensed === kind),
  );
  const out = agent.quarantined_at !== null || agent.terminated_at !== null;
  const waits = !out && agent.unconfirmed_since === null && agent.slot_since === null;
  if (out || beat.state === null || !takesWork(beat.state, agent.slot_since !== null)) {
    return { kinds, free: 0, waits };
  }
  const offered = held.filter(({ state }) => state === "offered").length;
  const capacity = Math.min(beat.capacity, plan.max_concurrent_tasks_per_agent);
  const free = Math.max(0, freePlaces({ capacity, inFlight: beat.in_flight, held }) - offered);
  return { kinds, free, waits };
}
