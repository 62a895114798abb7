// Goal: whatever the network, the disks, the clocks, the workers and the people do, the promises hold: nothing runs that
// was not verified, nothing runs twice, nothing is lost, nobody is suspected who did nothing, and every copy is noticed.
// Method: the real agent and the real Control Plane in a world of virtual time that follows from a number; thousands of such
// worlds, each with other faults, every promise looked at after every step (see README.md beside this file).

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { BEHAVIOURS } from "./behaviours.ts";
import { WIRE_FAULTS } from "./network-faults.ts";
import { failureText, type Summary } from "./report.ts";

const SEEDS = 2_000;
const PROCESSES = 2;
const PATIENCE_MS = 900_000;

/** What must have happened so often, that nobody takes an idle world for a safe one. */
const AT_LEAST: Readonly<Record<string, number>> = {
  "job submitted": 2 * SEEDS,
  "agent crashed": 400,
  "control crashed": 200,
  "crash: agent before journal.db: COMMIT": 20,
  "crash: agent after journal.db: COMMIT": 20,
  "crash: agent before journal.db: INSERT INTO meta": 20,
  "crash: agent after journal.db: INSERT INTO meta": 20,
  "crash: control before control.db: commit": 50,
  "crash: control after control.db: commit": 50,
  "agent killed": 50,
  "agent died speaking": 50,
  "host rebooted": 50,
  "host suspended": 200,
  "control restarted": 50,
  "network cut": 100,
  "wire: cut": 300,
  "wall clock jumped": 100,
  "disk filled": 50,
  "plan changed": 200,
  "order drain": 50,
  "order stop": 50,
  "order resume": 50,
  "order quarantine": 50,
  "order terminate": 10,
  "agent exits 10": 30,
  "job cancelled": 50,
  "recovery ordered": 50,
  "agent: agent.rekeyed": 50,
  "state directory cloned": 40,
  "state directory rolled back": 25,
  "control restored": 50,
  "restore cut off": 15,
  "reply forged": 300,
  "envelope repeated": 600,
  "envelope bent": 100,
  "cut off when it accepted a job": 50,
  "cut off when it started a job": 50,
  "agent: lease.ended": 40,
  "disturbed at rekey": 50,
  ...Object.fromEntries(WIRE_FAULTS.map((fault) => [`wire: ${fault}`, 50])),
  ...Object.fromEntries(BEHAVIOURS.map((behaviour) => [`worker ${behaviour}`, 50])),
};

/** Runs seeds in a process of their own: there the runtime belongs to the simulated world. */
async function simulate(...args: string[]): Promise<Summary> {
  const child = Bun.spawn({
    cmd: [process.execPath, join(import.meta.dir, "main.ts"), "--json", ...args],
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const output = await new Response(child.stdout).text();
  await child.exited;
  return JSON.parse(output.trim().split("\n").at(-1) ?? "") as Summary;
}

describe("the simulation", () => {
  test(
    `holds every promise in ${SEEDS} worlds`,
    async () => {
      const began = performance.now();
      const each = SEEDS / PROCESSES;
      const parts = Array.from({ length: PROCESSES }, (_, i) => [
        "--seeds",
        `${each}`,
        "--from",
        `${1 + i * each}`,
      ]);
      const summaries = await Promise.all(parts.map((args) => simulate(...args)));
      const seconds = Math.round((performance.now() - began) / 1000);
      const failed = summaries.flatMap((summary) => summary.failed);
      for (const text of failed) console.log(text);
      const hours = summaries.reduce((sum, { virtualHours }) => sum + virtualHours, 0);
      const seeds = summaries.reduce((sum, summary) => sum + summary.seeds, 0);
      console.log(`simulation: ${seeds} seeds, ${hours} virtual hours, ${seconds} s`);
      expect(failed).toEqual([]);
      expect(seeds).toBe(SEEDS);
      const counted = (what: string) => summaries.reduce((sum, { counts }) => sum + (counts[what] ?? 0), 0);
      const rare = Object.entries(AT_LEAST).filter(([what, times]) => counted(what) < times);
      expect(rare.map(([what, times]) => `${what}: ${counted(what)} of ${times}`)).toEqual([]);
    },
    PATIENCE_MS,
  );

  test(
    "tells the same story again for the same seed, alone or in a row",
    async () => {
      const [row, again, alone] = await Promise.all([
        simulate("--seeds", "25"),
        simulate("--seeds", "25"),
        simulate("--seed", "25"),
      ]);
      expect(row.digests).toHaveLength(25);
      expect(new Set(row.digests).size).toBe(25);
      expect(again.digests).toEqual(row.digests);
      expect(alone.digests).toEqual(row.digests.slice(-1));
    },
    PATIENCE_MS,
  );

  test("says how a failed seed is seen again", () => {
    const text = failureText({
      ...{ seed: 77, digest: "", lines: 2, virtualMs: 0, counts: {} },
      violations: ["I-2: job_1/1 begins for the 2. time"],
      tail: ["     1.000  agent1   runs"],
    });
    expect(text).toContain("agent1   runs");
    expect(text).toContain("I-2: job_1/1 begins for the 2. time");
    expect(text).toContain("npm run simulate -- --seed 77 --trace");
  });
});
