import type { AgentState } from "../protocol/wire.ts";
import type { LicenseStanding } from "../trust/license.ts";

/** Missed intervals after which an agent calls itself isolated. */
export const ISOLATED_AFTER_INTERVALS = 3;

/** Everything the agent's state follows from. Nothing stores a state; it is derived whenever it is asked for. */
export interface AgentFacts {
  /** False before activation. */
  readonly activated: boolean;
  readonly license: LicenseStanding | "invalid";
  readonly draining: boolean;
  /** Milliseconds since the last accepted heartbeat, or since the start when there was none yet. */
  readonly silentMs: number;
  readonly intervalMs: number;
  readonly slotHeld: boolean;
  readonly inFlight: number;
  readonly capacity: number;
}

/** The first line that matches wins. */
export function nextAgentState(facts: AgentFacts): AgentState {
  if (!facts.activated) return "inactive";
  if (facts.license !== "valid" && facts.license !== "grace") return "unlicensed";
  if (facts.draining) return "draining";
  if (facts.silentMs > ISOLATED_AFTER_INTERVALS * facts.intervalMs) return "isolated";
  if (!facts.slotHeld) return "standby";
  if (facts.inFlight >= facts.capacity) return "full";
  return facts.inFlight > 0 ? "working" : "idle";
}

/** What an agent in a state may do with work. `start` covers jobs it has accepted and holds a lease for. */
export const STATE_RIGHTS: Readonly<
  Record<AgentState, { readonly accept: boolean; readonly start: boolean }>
> = {
  terminal: { accept: false, start: false },
  tampered: { accept: false, start: false },
  inactive: { accept: false, start: false },
  unlicensed: { accept: false, start: false },
  quarantined: { accept: false, start: false },
  draining: { accept: false, start: false },
  paused: { accept: false, start: false },
  isolated: { accept: true, start: true },
  standby: { accept: false, start: true },
  full: { accept: true, start: true },
  working: { accept: true, start: true },
  idle: { accept: true, start: true },
};
