// Goal: wherever an agent is cut off, its next life ends every open attempt once, as what it was, runs nothing again, and
// the chain of receipts and of beats goes on unbroken.
// Method: one eventful life; before and after each of its writes the journal's files are copied as a crash would leave them,
// and the Control Plane's state with them; a new agent starts on every copy.

import type { Database } from "bun:sqlite";
import { afterAll, describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { IN_FLIGHT, JOB_STATES } from "../../../src/agent/job-table.ts";
import { Journal } from "../../../src/agent/journal.ts";
import { lost } from "../../support/lies.ts";
import type { ScriptedControl } from "../../support/scripted-control.ts";
import { World } from "./world.ts";

interface Crash {
  readonly dir: string;
  readonly control: ScriptedControl;
  /** The write it came before or after. */
  readonly where: string;
}

interface Inside {
  readonly db: Database;
  write: (sql: string, values: unknown[]) => void;
  atomically: (fn: () => unknown) => unknown;
}

const copies = mkdtempSync(join(tmpdir(), "agentina-crash-"));
afterAll(() => rmSync(copies, { recursive: true, force: true }));

/** Notes what a crash would leave, before and after each write and each transaction. */
function watch(world: World): Crash[] {
  const crashes: Crash[] = [];
  const inside = world.journal as unknown as Inside;
  const { write, atomically } = inside;
  const note = (where: string) => {
    const dir = join(copies, String(readdirSync(copies).length));
    mkdirSync(dir, { mode: 0o700 });
    for (const name of readdirSync(world.dir).filter((name) => name.startsWith("journal.db"))) {
      cpSync(join(world.dir, name), join(dir, name));
    }
    crashes.push({ dir, control: world.control.fork(), where });
  };
  const brief = (sql: string) => sql.trim().split(/\s+/).slice(0, 4).join(" ");
  inside.write = (sql, values) => {
    write.call(world.journal, sql, values);
    note(`after ${brief(sql)}${inside.db.inTransaction ? ", not committed" : ""}`);
  };
  inside.atomically = (fn) => {
    note("before a transaction");
    const result = atomically.call(world.journal, fn);
    note("after a transaction");
    return result;
  };
  return crashes;
}

/** Accepts, refuses, rejects, leases, starts, stops, ends and delivers; some replies are lost on the way. */
async function live(world: World): Promise<void> {
  const { control, time, agent, pool } = world;
  await world.start();
  const first = await world.startJob({ on_lost: "requeue" });
  control.offers.push("rubbish");
  await control.offer({ kind: "no.such" });
  const second = await control.offer();
  agent.news();
  await time.advanceUntil(() => world.row(second) !== null, 10_000);
  control.next("heartbeat", lost);
  await time.advanceUntil(() => world.row(second)?.state === "running", 70_000);
  await time.until(() => pool.tasks.length === 2);
  pool.tasks[0]?.report({ end: "failed", reason: "tests_failed" });
  await time.until(() => world.hasEnded(first));
  world.runner.stop(second.jti, 1, "order_cancel");
  await time.settle();
  pool.tasks[1]?.report({ end: "stopped", reason: "order_cancel", stop_cause: "order_cancel" });
  await time.until(() => world.hasEnded(second));
  control.grants = () => false;
  await control.offer();
  agent.news();
  await time.advance(70_000);
}

describe("a crash", () => {
  test("before or after any write: one end for each attempt, nothing run again, no chain broken", async () => {
    await using world = await World.make();
    const crashes = watch(world);
    await live(world);
    expect(world.control.violations).toEqual([]);
    expect(world.control.receipts.claims.map(({ outcome }) => outcome)).toEqual([
      "refused",
      "failed",
      "cancelled",
      "lease_lost",
    ]);
    expect(crashes.length).toBeGreaterThan(60);
    const seen = new Set<string>();
    for (const { dir, control, where } of crashes) {
      const before = Journal.open(join(dir, "journal.db"));
      const open = before.jobsIn(IN_FLIGHT);
      const known = before.jobsIn(JOB_STATES).map(({ jti }) => jti);
      for (const { state } of open) seen.add(state);
      before.close();
      await using next = await World.make({ like: world, dir, control });
      await next.start();
      await next.time.advance(3_000);
      expect([where, ...control.violations]).toEqual([where]);
      // What had not reached this host before is offered and run like any other.
      const runs = next.pool.tasks.map(({ task }) => task.jti);
      expect(runs.filter((jti) => known.includes(jti))).toEqual([]);
      const inFlight = next.journal.jobsIn(IN_FLIGHT).map(({ jti }) => jti);
      expect(inFlight.filter((jti) => known.includes(jti))).toEqual([]);
      for (const { jti, state } of open) {
        const ran = state === "running" || state === "stopping";
        const reason = ran ? "agent_restarted" : "never_started";
        expect(control.receipts.of(jti)).toMatchObject({ outcome: "interrupted", reason });
      }
      const ended = next.journal.jobsIn(["finished", "delivered"]);
      expect(ended.map(({ jti }) => jti)).toEqual(expect.arrayContaining(open.map(({ jti }) => jti)));
      for (const row of ended) expect(control.receipts.of(row.jti)?.outcome).toBe(row.outcome ?? undefined);
      expect(next.journal.openReceipts()).toEqual([]);
      expect(next.failure).toBeNull();
    }
    expect([...seen].sort()).toEqual(["accepted", "leased", "running", "stopping"]);
  }, 20_000);

  test("of the new life as well: settling is one transaction", async () => {
    await using world = await World.make();
    await world.start();
    await world.startJob();
    await world.startJob();
    world.kill();
    await using second = await World.make({ like: world });
    const crashes = watch(second);
    await second.start();
    const settled = crashes.filter(({ where }) => where.includes("not committed"));
    expect(settled.length).toBeGreaterThan(4);
    for (const { dir } of settled) {
      const journal = Journal.open(join(dir, "journal.db"));
      const states = journal.jobsIn(["running", "finished", "delivered"]).map(({ state }) => state);
      expect([
        ["running", "running"],
        ["finished", "finished"],
      ]).toContainEqual(states);
      expect(journal.receiptHead().seq).toBe(states[0] === "running" ? 0 : 2);
      journal.close();
    }
    await second.time.advance(5_000);
    expect(second.control.receipts.claims.map(({ outcome }) => outcome)).toEqual([
      "interrupted",
      "interrupted",
    ]);
    expect(second.control.violations).toEqual([]);
  });

  test("again and again changes nothing more: one receipt, however many lives", async () => {
    await using world = await World.make();
    await world.start();
    const claims = await world.startJob();
    world.kill();
    world.control.acks = false;
    for (let life = 0; life < 4; life++) {
      const next = await World.make({ like: world });
      await next.start();
      await next.time.advance(1_000);
      expect(next.row(claims)).toMatchObject({ state: "finished", reason: "agent_restarted" });
      next.kill();
    }
    expect(world.control.receipts.claims).toHaveLength(1);
    expect(world.control.violations).toEqual([]);
  });
});
