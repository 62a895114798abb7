// Goal: the state follows from the facts, the first line that fits wins, and each state may do what it may.
// Method: facts of a healthy agent, spoilt one by one and in pairs.

import { describe, expect, test } from "bun:test";
import { type AgentFacts, nextAgentState, STATE_RIGHTS } from "../../../src/agent/agent-state.ts";
import type { AgentState } from "../../../src/protocol/wire.ts";

const HEALTHY: AgentFacts = {
  ended: false,
  tampered: false,
  activated: true,
  license: "valid",
  quarantined: false,
  draining: false,
  held: false,
  silentMs: 0,
  intervalMs: 60_000,
  slotHeld: true,
  inFlight: 0,
  capacity: 2,
};
/** In the order in which they win. */
const SPOILT: readonly (readonly [AgentState, Partial<AgentFacts>])[] = [
  ["terminal", { ended: true }],
  ["tampered", { tampered: true }],
  ["inactive", { activated: false }],
  ["unlicensed", { license: "expired" }],
  ["quarantined", { quarantined: true }],
  ["draining", { draining: true }],
  ["paused", { held: true, inFlight: 0 }],
  ["isolated", { silentMs: 180_001 }],
  ["standby", { slotHeld: false }],
  ["full", { inFlight: 2 }],
  ["working", { inFlight: 1 }],
  ["idle", {}],
];

describe("the state of an agent", () => {
  test("is that of the first fact that spoils it", () => {
    for (const [index, [state, facts]] of SPOILT.entries()) {
      expect(nextAgentState({ ...HEALTHY, ...facts })).toBe(state);
      for (const [, further] of SPOILT.slice(index)) {
        expect(nextAgentState({ ...HEALTHY, ...further, ...facts })).toBe(state);
      }
    }
  });

  test.each(["not_yet_valid", "expired", "invalid"] as const)(
    "with a license that is %s is unlicensed",
    (license) => {
      expect(nextAgentState({ ...HEALTHY, license })).toBe("unlicensed");
    },
  );

  test("in the license's grace is as good as any", () => {
    expect(nextAgentState({ ...HEALTHY, license: "grace" })).toBe("idle");
  });

  test("held by an order while something is in flight is draining, as it is when the process stops", () => {
    expect(nextAgentState({ ...HEALTHY, held: true, inFlight: 1 })).toBe("draining");
    expect(nextAgentState({ ...HEALTHY, held: true, draining: true })).toBe("draining");
  });

  test("silent for exactly three intervals is not isolated yet", () => {
    expect(nextAgentState({ ...HEALTHY, silentMs: 180_000 })).toBe("idle");
  });

  test("gives rights to work only where there is nothing against it", () => {
    const rights = Object.entries(STATE_RIGHTS);
    const accepting = rights.filter(([, { accept }]) => accept).map(([state]) => state);
    const starting = rights.filter(([, { start }]) => start).map(([state]) => state);
    const keeping = rights.filter(([, { keep }]) => keep).map(([state]) => state);
    expect(starting.filter((state) => !keeping.includes(state))).toEqual([]);
    expect(keeping).toEqual(["inactive", "unlicensed", "isolated", "standby", "full", "working", "idle"]);
    expect(accepting.filter((state) => !starting.includes(state))).toEqual([]);
    expect(accepting).toEqual(["isolated", "full", "working", "idle"]);
    expect(starting).toEqual(["isolated", "standby", "full", "working", "idle"]);
  });
});
