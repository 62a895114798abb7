// Goal: one named process becomes the agent again, with new keys, and nobody else does; cut anywhere, it ends the same.
// Method: quarantined agents on real state directories; lost answers, restarts, copies; and a copy of everything before
// and after each durable write of a recovery, each of which must come to the same end.

import type { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { standing } from "../../../src/agent/standing.ts";
import { readKeyPair } from "../../../src/agent/state-files.ts";
import { html, lost, refuses, unreachable } from "../../support/lies.ts";
import type { ScriptedControl } from "../../support/scripted-control.ts";
import { watchingChanges } from "../../support/watched-files.ts";
import { Living } from "./living.ts";

const MINUTE = 60_000;

async function quarantined(): Promise<Living> {
  const living = await Living.make();
  await living.start();
  await living.startJob();
  living.control.quarantine();
  await living.beat();
  living.now.tasks[0]?.report({ end: "stopped", reason: "quarantined", stop_cause: "quarantined" });
  await living.time.until(() => living.now.journal.openReceipts().length === 1);
  return living;
}

const kidOf = async ({ dir }: Living) => (await readKeyPair(dir))?.identity.kid;

/** It is an agent again: new keys, next epoch, whole files, old receipts delivered, and it works. */
async function expectRecovered(living: Living, control: ScriptedControl = living.control): Promise<void> {
  await living.time.advanceUntil(() => control.beats.at(-1)?.orders.epoch === 2, 3 * MINUTE);
  await living.beat();
  expect(control.authority.agent.jkt).toBe((await kidOf(living)) ?? "");
  for (const name of ["identity.next.pem", "sealing.next.pem"]) {
    expect(existsSync(living.at(`keypair/${name}`))).toBe(false);
  }
  expect(living.text("quarantine.jws")).toBeNull();
  expect(control.beats.at(-1)).toMatchObject({ agent: { state: "idle" }, integrity: [] });
  expect(control.receipts.claims.at(-1)).toMatchObject({ outcome: "cancelled", reason: "quarantined" });
  const status = await living.status();
  expect(status).toMatchObject({ state: "idle", quarantine: null, seal: { whole: true } });
  await living.startJob({ epoch: 2 });
  expect(control.violations).toEqual([]);
  expect(living.now.failure).toBeNull();
}

describe("a recover order", () => {
  test("for this process: new keys, a new life in the same process, and work again", async () => {
    await using living = await quarantined();
    const before = await kidOf(living);
    const { inst } = living.now;
    living.control.recover(inst);
    await living.beat();
    await expectRecovered(living);
    expect(await kidOf(living)).not.toBe(before);
    expect(living.now.inst).not.toBe(inst);
    expect(living.processes).toHaveLength(1);
  });

  test.each(["revoked", "gone from the set"])(
    "finds an agent that was started again while its license's key is %s",
    async (fate) => {
      await using living = await quarantined();
      const { control } = living;
      const { authority } = control;
      const { license } = authority.keys;
      await authority.rotate();
      const nowS = living.time.nowS();
      const row = { use: "license" as const, kid: license.kid, jwk: license.jwk };
      const times = { nbf: nowS - 3_600, exp: nowS + 86_400, revoked_at: nowS - 1 };
      if (fate === "revoked") authority.trustClaims.keys.push({ ...row, ...times });
      control.extraHeld = { trust: await authority.trustDocument() };
      await living.beat();
      await living.restart();
      await living.beat();
      expect(living.now.failure).toBeNull();
      expect(control.heard.at(-1)).toMatchObject({ agent: { state: "unlicensed" }, orders: { epoch: 1 } });
      expect(await living.status()).toMatchObject({ state: "unlicensed", license: { standing: "invalid" } });
      control.recover(living.now.inst);
      await living.beat();
      await expectRecovered(living);
    },
  );

  test("does not keep a process that is told to stop, whatever keeps a job's end from being written", async () => {
    await using living = await Living.make();
    await living.start();
    await living.startJob();
    const { control, now, time } = living;
    control.quarantine();
    control.recover(now.inst);
    now.reins.news();
    await time.until(() => standing.recover(now.journal, 1) !== null);
    (now.journal as unknown as { db: Database }).db.run("PRAGMA query_only = 1"); // as on a disk that takes nothing
    await time.advance(MINUTE);
    expect(control.requests.some(({ route }) => route === "rekey")).toBe(false);
    now.reins.drain(1_000);
    await time.advance(2 * MINUTE);
    expect(now.exit).toBe(0);
  });

  test("for another process changes nothing here", async () => {
    await using living = await quarantined();
    const { control } = living;
    const before = await kidOf(living);
    const order = await control.authority.order({ type: "recover", inst: "x".repeat(22) }, { seq: 9 });
    control.extraHeld = { orders: [order] };
    await living.beat();
    expect(living.now.heard("order.refused")).toEqual([
      { code: "ORDER_WRONG_AGENT", why: expect.any(String) },
    ]);
    expect(control.to("rekey")).toEqual([]);
    expect(await kidOf(living)).toBe(before);
  });

  test("for an agent that is not quarantined is taken, told and not followed", async () => {
    await using living = await Living.make();
    await living.start();
    living.control.desk.give({ type: "recover", inst: living.now.inst });
    await living.beat();
    expect(living.now.heard("order.refused")).toMatchObject([{ code: "ORDER_NOT_APPLICABLE" }]);
    expect(living.control.heard.at(-1)?.orders.seq).toBe(1);
    expect(living.control.to("rekey")).toEqual([]);
  });

  test("whose answers are lost is asked for again with the same keys, and not a beat in between", async () => {
    await using living = await quarantined();
    const { control } = living;
    control.next("rekey", lost, unreachable, lost, html, refuses(500, "API_INTERNAL"));
    control.recover(living.now.inst);
    const beats = () => control.to("heartbeat").length;
    living.now.reins.news();
    await living.time.advanceUntil(() => control.to("rekey").length === 1, MINUTE);
    const sofar = beats();
    await living.time.advanceUntil(() => control.to("rekey").length === 5, 10 * MINUTE);
    expect(beats()).toBe(sofar);
    await expectRecovered(living);
    const keys = control
      .to("rekey")
      .map(({ body }) => JSON.parse(new TextDecoder().decode(body)).identity_jwk.x);
    expect(new Set(keys).size).toBe(1);
  });

  test("is finished by the next process from the journal alone", async () => {
    await using living = await quarantined();
    const { control } = living;
    control.always("rekey", unreachable);
    control.recover(living.now.inst);
    await living.beat();
    await living.end();
    control.always("rekey", null);
    control.desk.given = [];
    await living.start();
    await expectRecovered(living);
  });

  test("that the Control Plane refuses is given up when its time is over, and the agent beats as before", async () => {
    await using living = await quarantined();
    const { control } = living;
    control.always("rekey", refuses(400, "ORDER_NOT_APPLICABLE"));
    control.recover(living.now.inst);
    await living.beat();
    control.desk.given = control.desk.given.filter(({ order }) => order.type !== "recover");
    await living.time.advance(10 * MINUTE);
    expect(living.now.heard("recover.refused")).toEqual([]);
    await living.time.advance(10 * MINUTE);
    expect(living.now.heard("recover.refused")).toMatchObject([{ code: "ORDER_NOT_APPLICABLE" }]);
    expect(control.heard.at(-1)?.agent.state).toBe("quarantined");
    control.always("rekey", null);
    control.desk.given.push({ seq: 3, order: { type: "recover", inst: living.now.inst } });
    await living.beat();
    await expectRecovered(living);
  });
});

describe("a copy of the state directory", () => {
  test("never gets the key, however often it asks, and is ended when the original has its own", async () => {
    await using living = await quarantined();
    await living.time.settle();
    const { control, time } = living;
    await using clone = living.copy();
    await clone.start();
    control.recover(living.now.inst);
    for (let i = 0; i < 10; i++) await clone.beat();
    expect(clone.now.heard("order.refused")).toEqual([]);
    expect(control.to("rekey")).toEqual([]);
    await living.beat();
    await time.advanceUntil(() => control.retired.size === 1, MINUTE);
    await time.advanceUntil(() => clone.now.exit !== null, 2 * MINUTE);
    expect(clone.now.exit).toBe(10);
    expect(clone.now.tasks).toEqual([]);
    await clone.restart();
    expect(clone.now.code).toBe("STATE_TERMINAL");
    await living.startJob({ epoch: 2 });
    expect(control.violations.filter((text) => !text.startsWith("two beats"))).toEqual([]);
  });
});

interface Cut {
  readonly where: string;
  readonly copy: Living;
}

/** Copies of everything, the Control Plane included, before and after each durable write that `work` brings about. */
async function cutting(living: Living, work: () => Promise<void>): Promise<Cut[]> {
  const cuts: Cut[] = [];
  let armed = true;
  const note = (where: string) => {
    if (!armed) return;
    armed = false; // copying changes the file system too
    cuts.push({ where, copy: living.copy(living.control.fork()) });
    armed = true;
  };
  const { journal } = living.now;
  const inside = journal as unknown as {
    write: (sql: string, values: unknown[]) => void;
    atomically: (fn: () => unknown) => unknown;
  };
  const { write, atomically } = inside;
  inside.write = (sql, values) => {
    note(`before ${sql}`);
    write.call(journal, sql, values);
    note(`after ${sql}`);
  };
  inside.atomically = (fn) => {
    const result = atomically.call(journal, fn);
    note("after a transaction");
    return result;
  };
  const around = {
    before: (change: string) => note(`before ${change}`),
    after: (change: string) => note(`after ${change}`),
  };
  await watchingChanges(around, work);
  armed = false;
  return cuts;
}

/** Starts an agent on each copy and looks whether it comes to the expected end. */
async function expectEach(cuts: readonly Cut[], expected: (cut: Living) => Promise<void>): Promise<void> {
  for (const { where, copy } of cuts) {
    await using cut = copy;
    await cut.start();
    try {
      await expected(cut);
    } catch (error) {
      throw new Error(`cut ${where}: ${String(error)}`, { cause: error });
    }
  }
}

describe("cut before or after any durable write", () => {
  test("a recovery ends the same", async () => {
    await using living = await quarantined();
    living.control.recover(living.now.inst);
    const cuts = await cutting(living, async () => {
      living.now.reins.news();
      await living.time.advanceUntil(() => living.control.beats.at(-1)?.orders.epoch === 2, MINUTE);
    });
    await expectRecovered(living);
    await living.end();
    expect(cuts.length).toBeGreaterThan(60);
    await expectEach(cuts, async (cut) => {
      const { control } = cut;
      // The admin's order may not have reached the disk; it named the process that is gone, so he gives another.
      if (control.retired.size === 0 && control.to("rekey").length === 0) {
        await cut.beat();
        if (control.retired.size === 0) control.recover(cut.now.inst);
      }
      await cut.beat();
      await expectRecovered(cut, control);
    });
  }, 60_000);

  test("a quarantine holds from the first write that knows of it, and its file follows", async () => {
    await using living = await Living.make();
    await living.start();
    const waiting = await living.startJob();
    living.control.quarantine();
    const cuts = await cutting(living, () => living.beat());
    await living.end();
    expect(cuts.length).toBeGreaterThan(20);
    await expectEach(cuts, async (cut) => {
      await cut.beat();
      expect(cut.control.heard.at(-1)).toMatchObject({ agent: { state: "quarantined" }, integrity: [] });
      expect(cut.control.heard.at(-1)?.orders.seq).toBe(1);
      expect(cut.text("quarantine.jws")).not.toBeNull();
      expect(cut.now.journal.job(waiting.jti, 1)?.reason).toBe("agent_restarted");
      expect(cut.now.tasks).toEqual([]);
      expect(cut.control.violations).toEqual([]);
    });
  }, 60_000);

  test("an end is an end: the order comes again, or was kept", async () => {
    await using living = await Living.make();
    await living.start();
    living.control.desk.give({ type: "terminal", reason: "sold", grace_s: 0 });
    const cuts = await cutting(living, async () => {
      living.now.reins.news();
      await living.time.advanceUntil(() => living.now.exit !== null, MINUTE);
    });
    expect(living.now.exit).toBe(10);
    expect(cuts.length).toBeGreaterThan(20);
    await expectEach(cuts, async (cut) => {
      await cut.beat();
      await cut.time.advance(MINUTE);
      expect(cut.now.exit ?? cut.now.code).toBeOneOf([10, "STATE_TERMINAL"]);
      if (cut.now.exit === 10) await cut.restart();
      expect(cut.now.code).toBe("STATE_TERMINAL");
      expect(cut.text("terminal.jws")).not.toBeNull();
      expect((await cut.status()).state).toBe("terminal");
    });
  }, 60_000);
});
