// Goal: the job table is total and leads nowhere it should not.
// Method: every pair of state and event against the table written out once more; then walks of random events.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { IN_FLIGHT, JOB_EVENTS, JOB_STATES, step, transition } from "../../../src/agent/job-table.ts";

/** "." is no row. Columns: lease, lease_missing, start, stop, end, abandon, acknowledge. */
const EXPECTED = {
  accepted: ["leased", "finished", ".", ".", ".", "finished", "."],
  leased: ["leased", "finished", "running", ".", ".", "finished", "."],
  running: ["running", "running", ".", "stopping", "finished", "finished", "."],
  stopping: ["stopping", "stopping", ".", "stopping", "finished", "finished", "."],
  finished: [".", ".", ".", ".", ".", ".", "delivered"],
  delivered: [".", ".", ".", ".", ".", ".", "."],
  returned: [".", ".", ".", ".", ".", ".", "."],
} as const;

describe("the job table", () => {
  test("has a row, or none, for every pair", () => {
    expect(Object.keys(EXPECTED)).toEqual([...JOB_STATES]);
    for (const state of JOB_STATES) {
      const row = JOB_EVENTS.map((event) => transition(state, event) ?? ".");
      expect(row).toEqual([...EXPECTED[state]]);
    }
  });

  test("a missing row is a defect of ours, and says which", () => {
    for (const state of JOB_STATES) {
      for (const event of JOB_EVENTS) {
        if (transition(state, event) !== null) continue;
        expect(() => step(state, event)).toThrow(`Invariant broken: a job that is ${state} has no ${event}`);
      }
    }
  });

  test("whatever happens, a start comes after a lease, once, and an end is an end", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...JOB_EVENTS), { maxLength: 40 }), (events) => {
        const path = ["accepted" as (typeof JOB_STATES)[number]];
        let starts = 0;
        for (const event of events) {
          const state = path.at(-1) ?? "accepted";
          const next = transition(state, event);
          if (next === null) continue;
          if (event === "start") {
            starts += 1;
            expect(state).toBe("leased");
          }
          path.push(next);
        }
        expect(starts).toBeLessThanOrEqual(1);
        const end = path.indexOf("finished");
        if (end >= 0) expect(path.slice(end).every((state) => !IN_FLIGHT.includes(state))).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});
