import type { AgentState } from "../protocol/wire.ts";
import type { LicenseStanding } from "../trust/license.ts";

/** Missed intervals after which an agent calls itself isolated. */
export const ISOLATED_AFTER_INTERVALS = 3;

/** Everything the agent's state follows from. Nothing stores a state; it is derived whenever it is asked for. */
export interface AgentFacts {
  /** A terminal order was taken. */
  readonly ended: boolean;
  /** The seal over the state files does not hold. */
  readonly tampered: boolean;
  /** False before activation. */
  readonly activated: boolean;
  readonly license: LicenseStanding | "invalid";
  readonly quarantined: boolean;
  /** This process is stopping. */
  readonly draining: boolean;
  /** Told by a drain or stop order to take nothing new. */
  readonly held: boolean;
  /** Milliseconds since the last accepted heartbeat, or since the start when there was none yet. */
  readonly silentMs: number;
  readonly intervalMs: number;
  readonly slotHeld: boolean;
  readonly inFlight: number;
  readonly capacity: number;
}

/** The first line that matches wins. */
export function nextAgentState(facts: AgentFacts): AgentState {
  if (facts.ended) return "terminal";
  if (facts.tampered) return "tampered";
  if (!facts.activated) return "inactive";
  if (facts.license !== "valid" && facts.license !== "grace") return "unlicensed";
  if (facts.quarantined) return "quarantined";
  if (facts.draining || (facts.held && facts.inFlight > 0)) return "draining";
  if (facts.held) return "paused";
  if (facts.silentMs > ISOLATED_AFTER_INTERVALS * facts.intervalMs) return "isolated";
  if (!facts.slotHeld) return "standby";
  if (facts.inFlight >= facts.capacity) return "full";
  return facts.inFlight > 0 ? "working" : "idle";
}

interface Rights {
  /** Take offers. */
  readonly accept: boolean;
  /** Start what was accepted and holds a lease. */
  readonly start: boolean;
  /** Keep what was accepted until it may start; where not, it ends as never started. */
  readonly keep: boolean;
}

const NONE: Rights = { accept: false, start: false, keep: false };
const ALL: Rights = { accept: true, start: true, keep: true };

/** What an agent in a state may do with work. */
export const STATE_RIGHTS: Readonly<Record<AgentState, Rights>> = {
  terminal: NONE,
  tampered: NONE,
  inactive: { ...NONE, keep: true },
  unlicensed: { ...NONE, keep: true },
  quarantined: NONE,
  draining: NONE,
  paused: NONE,
  isolated: ALL,
  standby: { ...ALL, accept: false },
  full: ALL,
  working: ALL,
  idle: ALL,
};
