import type { Slot } from "../../protocol/wire.ts";

/** How an account's slots stand, seen from one agent that has none. */
export interface SlotStanding {
  readonly maxAgents: number;
  readonly holders: number;
  /** A holder without a live lease that is silent for too long, quarantined or ended, if there is one. */
  readonly evictable: string | null;
  /** Agents that are alive and have waited longer. */
  readonly ahead: number;
}

export type SlotVerdict =
  | { readonly verdict: "held"; readonly evict: string | null }
  | { readonly verdict: "waits"; readonly position: number };

/** Whether an agent without a slot gets one now. Those who wait longer come first. Pure. */
export function judgeSlot({ maxAgents, holders, evictable, ahead }: SlotStanding): SlotVerdict {
  const free = maxAgents - holders;
  if (free > ahead) return { verdict: "held", evict: null };
  if (free === ahead && evictable !== null) return { verdict: "held", evict: evictable };
  return { verdict: "waits", position: ahead + 1 };
}

/** At most so many agents wait for a slot; beyond, an activation is refused and may be tried later. */
export const waitingMax = (maxAgents: number): number => 2 * maxAgents + 10;

/** The slot as agents are told. */
export const slotOf = (verdict: SlotVerdict, maxAgents: number, holders: readonly string[]): Slot =>
  verdict.verdict === "held"
    ? { held: true, max_agents: maxAgents }
    : {
        held: false,
        position: verdict.position,
        max_agents: maxAgents,
        ...(holders.length === 0 ? {} : { holders: [...holders] }),
      };
