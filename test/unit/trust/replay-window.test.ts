// Goal: every offer number is admitted at most once, and none is forgotten while it could come again.
// Method: random sequences with jumps, repeats and old numbers, held against a set that remembers everything.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { admit, EMPTY_WINDOW, type ReplayWindow } from "../../../src/trust/replay-window.ts";

/** The same rule, naively: remembers all, forgets nothing, and calls old what the window cannot tell. */
class Model {
  private readonly seen = new Set<number>();
  private highest = 0;

  admits(seq: number): boolean {
    if (seq <= this.highest - LIMITS.REPLAY_WINDOW || this.seen.has(seq)) return false;
    this.seen.add(seq);
    this.highest = Math.max(this.highest, seq);
    return true;
  }
}

const W = LIMITS.REPLAY_WINDOW;
const near = [1, 2, 3, W - 1, W, W + 1, 2 * W - 1, 2 * W, 2 * W + 1];

describe("the replay window", () => {
  test("agrees with a memory without end", () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ ahead: fc.integer({ min: -W - 40, max: 40 }) }) },
      { weight: 2, arbitrary: fc.record({ ahead: fc.constantFrom(...near, ...near.map((n) => -n), 0) }) },
      { weight: 1, arbitrary: fc.record({ ahead: fc.integer({ min: 1, max: 5 * W }) }) },
    );
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 400 }), (steps) => {
        const model = new Model();
        let window: ReplayWindow = EMPTY_WINDOW;
        for (const { ahead } of steps) {
          const seq = Math.max(1, window.highest + ahead);
          const admission = admit(window, seq);
          expect(admission.ok).toBe(model.admits(seq));
          if (admission.ok) window = admission.window;
        }
      }),
      { numRuns: 400 },
    );
  });

  test("is a value: admitting changes nothing but the answer", () => {
    const first = admit(EMPTY_WINDOW, 5);
    expect(EMPTY_WINDOW.highest).toBe(0);
    expect(EMPTY_WINDOW.bits.every((byte) => byte === 0)).toBe(true);
    if (!first.ok) throw new Error("refused");
    const before = Uint8Array.from(first.window.bits);
    admit(first.window, 6);
    admit(first.window, 5);
    expect(first.window.bits).toEqual(before);
    expect(first.window.bits).toHaveLength(W / 8);
  });

  test("survives the largest number there is, at once", () => {
    const far = admit(EMPTY_WINDOW, Number.MAX_SAFE_INTEGER);
    if (!far.ok) throw new Error("refused");
    expect(admit(far.window, Number.MAX_SAFE_INTEGER).ok).toBe(false);
    expect(admit(far.window, Number.MAX_SAFE_INTEGER - 1).ok).toBe(true);
    expect(admit(far.window, Number.MAX_SAFE_INTEGER - W).ok).toBe(false);
  });

  test("says which of the two it was", () => {
    const window = { highest: 5000, bits: new Uint8Array(W / 8).fill(255) };
    expect(admit(window, 5000)).toEqual({ ok: false, why: "its offer 5000 was seen before" });
    expect(admit(window, 3000)).toEqual({ ok: false, why: "its offer 3000 is older than the window (5000)" });
  });
});
