// Goal: a stopping agent starts nothing, lets its jobs end or cancels them, tells what it did, and is gone in bounded time
// whatever the Control Plane does; what it could not tell it tells in its next life.
// Method: the real loop under virtual time; `drain` is what SIGTERM calls.

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { fault } from "../../../src/fault/fault.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import {
  answers,
  delayed,
  silent as silence,
  type silent,
  slow,
  swallowed,
  unreachable,
} from "../../support/lies.ts";
import { World } from "./world.ts";

const GRACE_MS = 120_000;
const draining = async () => {
  const world = await World.make();
  await world.start();
  return world;
};
/** Ended, and nothing of it is left that could still act. */
const isGone = (world: World) => {
  expect(world.exit).toBe(0);
  expect(world.failure).toBeNull();
  expect(world.time.pending).toBe(0);
  expect(world.pool.closed).toBe(true);
};

describe("an idle agent", () => {
  test("says farewell with one beat and ends", async () => {
    await using world = await draining();
    world.agent.drain(GRACE_MS);
    await world.time.advance(100);
    isGone(world);
    expect(world.control.beats.at(-1)?.agent.state).toBe("draining");
    expect(world.control.violations).toEqual([]);
  });

  test.each([
    ["not there", unreachable],
    ["broken", answers(500)],
    ["busy for five minutes", answers(429, { "retry-after": "300" })],
  ])("ends at once when the Control Plane is %s: there is nothing to lose", async (_, lie) => {
    await using world = await draining();
    world.control.always("heartbeat", lie);
    world.agent.drain(GRACE_MS);
    await world.time.advance(100);
    isGone(world);
  });

  test("ends after ten seconds when the Control Plane hangs", async () => {
    await using world = await draining();
    world.control.always("heartbeat", silence);
    world.agent.drain(GRACE_MS);
    await world.time.advance(9_900);
    expect(world.exit).toBeNull();
    await world.time.advance(200);
    isGone(world);
  });

  test("ends after ten seconds when even the token request hangs", async () => {
    await using world = await draining();
    world.control.tokens.clear();
    world.control.always("token", silence);
    world.agent.drain(GRACE_MS);
    await world.time.advance(10_100);
    isGone(world);
  });

  test("ends at once when it could not reach the Control Plane before either", async () => {
    await using world = await draining();
    world.control.always("heartbeat", unreachable);
    await world.time.advance(120_000);
    const tries = world.control.to("heartbeat").length;
    world.agent.drain(GRACE_MS);
    await world.time.advance(100);
    isGone(world);
    expect(world.control.to("heartbeat").length - tries).toBeLessThanOrEqual(1);
  });

  test("told before its first beat, it ends all the same", async () => {
    await using world = await World.make();
    world.agent.drain(GRACE_MS);
    await world.start();
    await world.time.advance(100);
    isGone(world);
  });
});

describe("an agent with running jobs", () => {
  test("lets them end, takes no other, delivers and ends", async () => {
    await using world = await draining();
    const claims = await world.startJob();
    await world.time.advance(5_000);
    world.agent.drain(GRACE_MS);
    const refused = await world.control.offer();
    world.agent.news();
    await world.time.advance(60_000);
    expect(world.exit).toBeNull();
    expect(world.row(refused)).toBeNull();
    expect(world.pool.last.heard).toEqual([]);
    world.pool.last.report();
    await world.time.until(() => world.hasEnded(claims));
    await world.time.advance(3_000);
    isGone(world);
    expect(world.control.receipts.claims.map(({ outcome }) => outcome)).toEqual(["succeeded"]);
    expect(world.control.violations).toEqual([]);
  });

  test("cancels them when their grace is over", async () => {
    await using world = await draining();
    const claims = await world.startJob();
    world.agent.drain(GRACE_MS);
    await world.time.advance(GRACE_MS - 1);
    expect(world.pool.last.heard).toEqual([]);
    await world.time.advance(2);
    expect(world.pool.last.heard).toEqual([{ type: "stop", cause: "host_stopping", grace_ms: 5_000 }]);
    world.pool.last.report({ end: "stopped", reason: "host_stopping", stop_cause: "host_stopping" });
    await world.time.until(() => world.hasEnded(claims));
    await world.time.advance(3_000);
    isGone(world);
    expect(world.control.receipts.of(claims.jti)).toMatchObject({
      outcome: "cancelled",
      reason: "host_stopping",
    });
  });

  test("told twice, cancels them now; a worker that does not hear loses its thread", async () => {
    await using world = await draining();
    const claims = await world.startJob();
    world.agent.drain(GRACE_MS);
    world.agent.drain(GRACE_MS);
    await world.time.settle();
    expect(world.pool.last.heard).toEqual([{ type: "stop", cause: "host_stopping", grace_ms: 2_000 }]);
    await world.time.advance(6_900);
    expect(world.pool.last.aborted).toBe(false);
    await world.time.advance(200);
    expect(world.pool.last.aborted).toBe(true);
    await world.time.until(() => world.hasEnded(claims));
    await world.time.advance(3_000);
    isGone(world);
    expect(world.control.receipts.of(claims.jti)?.outcome).toBe("cancelled");
  });

  test("told ten times, is told twice", async () => {
    await using world = await draining();
    await world.startJob();
    for (let i = 0; i < 10; i++) world.agent.drain(GRACE_MS);
    await world.time.settle();
    expect(world.pool.last.heard).toHaveLength(1);
    await world.time.advance(30_000);
    await world.time.until(() => world.exit !== null);
    isGone(world);
  });
});

describe("what was accepted and not started", () => {
  test("ends as interrupted, never started, and is told", async () => {
    await using world = await draining();
    const claims = await world.control.offer();
    world.control.next("heartbeat", async (honest) => await honest(), delayed(5_000));
    world.agent.news();
    await world.time.advance(1_000);
    expect(world.row(claims)?.state).toBe("accepted");
    world.agent.drain(GRACE_MS); // the beat that asks for its lease is on its way
    await world.time.advance(9_000);
    isGone(world);
    expect(world.pool.tasks).toEqual([]);
    expect(world.control.receipts.of(claims.jti)).toMatchObject({
      outcome: "interrupted",
      reason: "never_started",
    });
    expect(world.control.violations).toEqual([]);
  });

  test.each([0, 1])("comes in with a reply that was under way (reply %i)", async (later) => {
    await using world = await draining();
    const claims = await world.control.offer();
    const plain = Array.from(
      { length: later },
      () => async (honest: () => Promise<Response>) => await honest(),
    );
    world.control.next("heartbeat", ...plain, slow(5_000));
    world.agent.news();
    await world.time.advance(1_000);
    world.agent.drain(GRACE_MS);
    await world.time.advance(9_000);
    isGone(world);
    expect(world.pool.tasks).toEqual([]);
    const row = world.row(claims);
    expect(row === null || row.state === "delivered").toBe(true);
    expect(world.control.violations).toEqual([]);
  });

  test("is settled also when the drain falls between judging and storing", async () => {
    await using world = await draining();
    const claims = await world.control.offer();
    world.decide = (asked) => {
      queueMicrotask(() => world.agent.drain(GRACE_MS));
      return { ok: true, grant: { scope: asked.scope, limits: asked.limits, limits_enforced: "weak" } };
    };
    world.agent.news();
    await world.time.advance(9_000);
    isGone(world);
    expect(world.row(claims)).toMatchObject({ state: "delivered", reason: "never_started" });
    expect(world.control.violations).toEqual([]);
  });

  test("is settled on disk also when nobody can be told", async () => {
    await using world = await draining();
    const claims = await world.control.offer();
    world.control.next("heartbeat", async (honest) => await honest(), unreachable);
    world.agent.news();
    await world.time.settle();
    world.control.always("heartbeat", unreachable);
    world.agent.drain(GRACE_MS);
    await world.time.advance(11_000);
    isGone(world);
    expect(world.row(claims)).toMatchObject({ state: "finished", reason: "never_started" });
    expect(world.journal.openReceipts()).toHaveLength(1);
  });

  test("and not granted by a reply that refuses another, just as the drain begins: one chain all the same", async () => {
    await using world = await draining();
    const accepted = await world.control.offer();
    world.control.next("heartbeat", async (honest) => await honest(), delayed(2_000));
    world.agent.news();
    await world.time.settle();
    const refused = world.control.authority.jobClaims();
    world.control.grants = () => false;
    world.control.extra = { jobs: [await world.control.authority.job(refused)] };
    world.decide = () => {
      world.agent.drain(GRACE_MS); // its settling is being signed when the reply comes to be stored
      return { ok: false, why: fault("POLICY_MISSING", { path: "policy.toml" }) };
    };
    await world.time.advance(9_000);
    isGone(world);
    expect(world.control.receipts.of(accepted.jti)?.reason).toBe("never_started");
    expect(world.control.receipts.of(refused.jti)?.reason).toBe("POLICY_MISSING");
    expect(world.control.violations).toEqual([]);
  });

  test("and refused by the same reply: both get their receipts, in one chain", async () => {
    await using world = await draining();
    const first = await world.control.offer();
    world.control.next("heartbeat", async (honest) => await honest(), slow(2_000));
    world.agent.news();
    await world.time.settle();
    world.control.grants = () => false;
    const second = await world.control.offer({ kind: "no.such" });
    await world.time.advance(1_000);
    world.agent.drain(GRACE_MS);
    await world.time.advance(9_000);
    isGone(world);
    expect(world.control.receipts.of(first.jti)?.reason).toBe("never_started");
    expect([undefined, "JOB_KIND_UNKNOWN"]).toContain(world.control.receipts.of(second.jti)?.reason);
    expect(world.control.violations).toEqual([]);
  });
});

describe("last receipts", () => {
  const lies: Readonly<Record<string, typeof silent>> = {
    "cannot be reached": unreachable,
    hangs: silence,
    "hangs after it took them": swallowed,
    "asks to come back later": answers(503, { "retry-after": "120" }),
  };
  for (const [name, lie] of Object.entries(lies)) {
    test(`are kept for the next life when the Control Plane ${name}`, async () => {
      await using world = await draining();
      const claims = await world.startJob();
      world.control.always("heartbeat", lie);
      world.agent.drain(GRACE_MS);
      world.pool.last.report();
      await world.time.until(() => world.hasEnded(claims));
      const ended = world.time.bootMs();
      await world.time.advanceUntil(() => world.exit !== null, 20_000);
      isGone(world);
      expect(world.time.bootMs() - ended).toBeLessThanOrEqual(10_000);
      expect(world.row(claims)?.state).toBe("finished");
      world.kill();
      world.control.always("heartbeat", null);
      await using next = await World.make({ like: world });
      await next.start();
      await next.time.advance(3_000);
      expect(next.row(claims)?.state).toBe("delivered");
      expect(world.control.receipts.claims).toHaveLength(1);
      expect(world.control.violations).toEqual([]);
    });
  }

  test("that nobody acknowledges do not keep it longer than ten seconds", async () => {
    await using world = await draining();
    await world.startJob();
    world.control.acks = false;
    world.agent.drain(GRACE_MS);
    world.pool.last.report();
    await world.time.until(() => world.control.receipts.claims.length === 1);
    await world.time.advanceUntil(() => world.exit !== null, 11_000);
    isGone(world);
    expect(world.control.to("heartbeat").length).toBeLessThan(10);
  });
});

describe("last logs", () => {
  test.each([
    ["arrive", null, true],
    ["wait on disk when the log route hangs", silence, false],
    ["wait on disk when it is not there", unreachable, false],
  ])("%s", async (_, lie, arrives) => {
    await using world = await draining();
    const claims = await world.startJob();
    world.control.always("log", lie);
    const text = `${"x".repeat(99)}\n`.repeat(20_000);
    writeFileSync(world.pool.last.task.logPath, text);
    world.agent.drain(GRACE_MS);
    world.pool.last.report({ log: { sha256: sha256Of(text), size: text.length } });
    await world.time.until(() => world.hasEnded(claims));
    const ended = world.time.bootMs();
    await world.time.advanceUntil(() => world.exit !== null, 20_000);
    isGone(world);
    expect(world.time.bootMs() - ended).toBeLessThanOrEqual(10_000);
    expect(world.control.logs.text(claims.jti) === text).toBe(arrives);
    expect(world.row(claims)?.logSent).toBe(arrives ? text.length : 0);
    expect(world.control.violations).toEqual([]);
  });
});
