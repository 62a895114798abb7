import type { ChainVerdict } from "./chain.ts";

/** How far an agent and a server brought back from a backup have come apart. */
export interface EraFacts {
  /** Era of the server, and the one in which the agent's row was last known to be right. */
  readonly era: number;
  readonly agentEra: number;
  /** Number of the beat the server's chain expects, and of the one shown. */
  readonly expected: number;
  readonly shown: number;
}

/** No agent has got so far in earnest: a larger number is a lie, or damage, and is not built upon. */
export const BELIEVED_MAX = 2 ** 31;

/** The epoch that follows a resynchronisation: beyond what this server knows, and what the agent says it has. Pure. */
export const epochAfter = (known: number, told: number): number =>
  Math.max(known, told <= BELIEVED_MAX ? told : 0) + 1;

/**
 * What a beat that does not fit the chain means: `resync` when the server was brought back from a backup since it last
 * knew this agent, and the agent is not behind what the backup knows; `ahead` when the server has lost beats without
 * having been restored, which is nobody's fault but its own; else `anomaly`. Pure.
 */
export function judgeMisfit(
  verdict: Extract<ChainVerdict, { verdict: "anomaly" }>,
  { era, agentEra, expected, shown }: EraFacts,
): "resync" | "ahead" | "anomaly" {
  if (agentEra < era && shown >= expected) return "resync";
  return verdict.kind === "beat_ahead" ? "ahead" : "anomaly";
}
