// Goal: under loss, delay, lies, crashes and restarts in any order the promises hold: no attempt runs twice, none runs beyond
// its lease where that matters, every accepted attempt ends in one acknowledged receipt, no chain breaks.
// Method: seeded random lives of an agent under virtual time; then the network heals and the books are compared.

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { IN_FLIGHT } from "../../../src/agent/job-table.ts";
import type { JobClaims } from "../../../src/protocol/job.ts";
import {
  altered,
  answers,
  delayed,
  html,
  lost,
  refuses,
  silent,
  slow,
  swallowed,
  unreachable,
  unsigned,
} from "../../support/lies.ts";
import type { Lie } from "../../support/scripted-control.ts";
import { World } from "./world.ts";

/** Mulberry32: small, and the same everywhere. */
function dice(seed: number) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return { below: (n: number) => Math.floor(next() * n), chance: (p: number) => next() < p };
}

const LIES: readonly Lie[] = [
  unreachable,
  lost,
  lost,
  silent,
  swallowed,
  html,
  unsigned,
  answers(500),
  answers(429, { "retry-after": "40" }),
  refuses(401, "BEARER_INVALID"),
  altered((text) => text.slice(0, -3)),
  slow(20_000),
  delayed(20_000),
];

interface Life {
  world: World;
  readonly lives: World[];
  readonly offered: JobClaims[];
  /** How often each attempt reached a worker, in all lives together. */
  readonly runs: Map<string, number>;
}

async function restart(life: Life): Promise<void> {
  for (const { task } of life.world.pool.tasks) count(life, task.jti);
  life.world.kill();
  life.lives.push(life.world);
  life.world = await World.make({ like: life.world });
  await life.world.start();
}

const count = ({ runs }: Life, jti: string) => runs.set(jti, (runs.get(jti) ?? 0) + 1);

async function step(life: Life, { below, chance }: ReturnType<typeof dice>): Promise<void> {
  const { world } = life;
  const { control, time, pool } = world;
  const lie = LIES[below(LIES.length)] ?? lost;
  switch (below(9)) {
    case 0:
      control.next("heartbeat", ...Array.from({ length: below(4) }, () => lie));
      break;
    case 1:
      control.next("log", lie);
      break;
    case 2:
    case 3:
      life.offered.push(await control.offer({ on_lost: chance(0.5) ? "requeue" : "fail" }));
      world.agent.news();
      break;
    case 4:
      control.offers.push("rubbish");
      break;
    case 5:
      for (const task of pool.tasks.filter(() => chance(0.5))) task.report();
      break;
    case 6:
      if (pool.tasks.length > 0) writeFileSync(pool.last.task.logPath, "x".repeat(below(100_000)));
      break;
    case 7:
      if (chance(0.3)) control.grants = () => chance(0.8);
      if (chance(0.2)) await time.suspend(below(900_000));
      break;
    default:
      if (chance(0.4)) await restart(life);
  }
  await time.advance(below(chance(0.2) ? 400_000 : 20_000));
  await time.advance(1_100); // the agent looks at its leases every second
  for (const { task, heard, done } of life.world.pool.tasks) {
    const row = life.world.journal.job(task.jti, task.attempt);
    if (row?.claims.on_lost !== "requeue" || done || heard.length > 0) continue;
    expect(control.leasedUntil.get(`${task.jti}/${task.attempt}`)).toBeGreaterThan(time.bootMs() - 1_100);
  }
  // Whatever does not stop when it is told is cut off by the runner; these workers obey at once.
  for (const task of life.world.pool.tasks) {
    if (task.heard.length > 0) task.report({ end: "stopped", reason: "deadline", stop_cause: null });
  }
}

describe("a random life", () => {
  test.each(Array.from({ length: 5 }, (_, index) => index + 1))(
    "keeps every promise (seed %i)",
    async (seed) => {
      const random = dice(seed);
      const first = await World.make({ license: { max_concurrent_tasks_per_agent: 4 } });
      await using _ = first;
      const life: Life = { world: await first.start(), lives: [], offered: [], runs: new Map() };
      for (let i = 0; i < 40; i++) await step(life, random);
      const { control, time } = first;
      control.always("heartbeat", null);
      control.grants = () => true;
      for (const task of life.world.pool.tasks) task.report();
      await time.until(() => life.world.runner.running === 0);
      await time.advance(600_000);
      for (const task of life.world.pool.tasks) task.report();
      await time.until(() => life.world.runner.running === 0);
      await time.advance(120_000);
      const { world } = life;
      for (const { task } of world.pool.tasks) count(life, task.jti);

      // A request that was on its way while the host slept is old when it arrives, and refused: nobody's fault.
      expect(control.violations.filter((text) => !text.endsWith("proof of another time"))).toEqual([]);
      expect(world.failure).toBeNull();
      expect(world.journal.jobsIn(IN_FLIGHT)).toEqual([]);
      expect(world.journal.openReceipts()).toEqual([]);
      for (const [jti, runs] of life.runs) expect([jti, runs]).toEqual([jti, 1]);
      const ended = world.journal.jobsIn(["finished", "delivered"]);
      expect(ended.every(({ state }) => state === "delivered")).toBe(true);
      for (const row of ended) expect(control.receipts.of(row.jti)?.outcome).toBe(row.outcome ?? undefined);
      expect(control.receipts.claims).toHaveLength(ended.length);
      for (const { jti } of life.offered.filter(({ jti }) => life.runs.has(jti))) {
        expect(control.receipts.of(jti)).toBeDefined();
      }
      world.kill();
    },
  );
});
