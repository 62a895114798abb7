// Goal: no lease, no start; a lease ends when the server may have given the job to another, never later: counted on the
// boot clock from the making of the beat that asked for it, whatever delays, repeats, sleeps or clock changes come between.
// Method: the real loop under virtual time; what the workers are told and when is compared with the time of the beats.

import { describe, expect, test } from "bun:test";
import { LeaseBook } from "../../../src/agent/leases.ts";
import type { JobClaims } from "../../../src/protocol/job.ts";
import type { BeatJob } from "../../../src/protocol/wire.ts";
import { delayed, lost, says, slow, unreachable } from "../../support/lies.ts";
import { VirtualTime } from "../../support/virtual-time.ts";
import { World } from "./world.ts";

const MINUTE = 60_000;
const beatsNaming = (world: World, jti: string) =>
  world.control.beats.flatMap(({ jobs }) => jobs.filter((job) => job.jti === jti));
const stopped = (world: World) => world.pool.tasks.flatMap(({ heard }) => heard);

describe("accepted, leased, started", () => {
  test("a job starts only after a beat named it and its reply granted it", async () => {
    await using world = await World.make();
    await world.start();
    const claims = await world.control.offer();
    world.control.next("heartbeat", async (honest) => await honest(), delayed(8_000));
    world.agent.news();
    await world.time.advance(7_000);
    expect(world.row(claims)?.state).toBe("accepted");
    expect(world.pool.tasks).toEqual([]);
    await world.time.advance(2_000);
    await world.time.until(() => world.pool.tasks.length === 1);
    expect(beatsNaming(world, claims.jti)[0]).toMatchObject({ state: "accepted", attempt: 1 });
    expect(world.row(claims)?.state).toBe("running");
    expect(world.row(claims)?.startedAt).toBeGreaterThan(
      world.row(claims)?.acceptedAt ?? Number.POSITIVE_INFINITY,
    );
  });

  test("accepted and not granted: it ends as lease_lost, never started", async () => {
    await using world = await World.make();
    await world.start();
    world.control.grants = () => false;
    const claims = await world.control.offer();
    world.agent.news();
    await world.time.advance(5_000);
    expect(world.control.receipts.of(claims.jti)).toMatchObject({
      outcome: "lease_lost",
      reason: "never_started",
      started_at: null,
    });
    expect(world.row(claims)?.state).toBe("delivered");
    expect(world.pool.tasks).toEqual([]);
    expect(world.control.violations).toEqual([]);
  });

  test("a lease for something else grants nothing", async () => {
    await using world = await World.make();
    await world.start();
    const claims = await world.control.offer();
    const other = { jti: claims.jti, attempt: 2, ttl_s: 300 };
    world.control.next(
      "heartbeat",
      async (honest) => await honest(),
      says((reply) => ({ ...reply, leases: [other] })),
    );
    world.agent.news();
    await world.time.advance(5_000);
    expect(world.pool.tasks).toEqual([]);
    expect(world.control.receipts.of(claims.jti)?.outcome).toBe("lease_lost");
  });

  test("two thirds of a batch granted: those run, the other ends", async () => {
    await using world = await World.make({ license: { max_concurrent_tasks_per_agent: 3 } });
    await world.start();
    const [first, second, third] = [
      await world.control.offer(),
      await world.control.offer(),
      await world.control.offer(),
    ];
    world.control.grants = (job: BeatJob) => job.jti !== second.jti;
    world.agent.news();
    await world.time.advance(5_000);
    await world.time.until(() => world.pool.tasks.length === 2);
    expect([first, second, third].map((claims) => world.row(claims)?.state)).toEqual([
      "running",
      "delivered",
      "running",
    ]);
  });
});

describe("a lease that is not renewed", () => {
  test("on_lost requeue: the job is killed when it ends, without grace, and its thread soon after", async () => {
    await using world = await World.make();
    await world.start();
    const claims = await world.startJob({ on_lost: "requeue" });
    const granted = world.control.to("heartbeat").at(-1)?.at ?? 0;
    world.control.always("heartbeat", unreachable);
    await world.time.advance(granted + 299_000 - world.time.bootMs());
    expect(stopped(world)).toEqual([]);
    await world.time.advance(2_100);
    expect(stopped(world)).toEqual([{ type: "stop", cause: "lease_expired", grace_ms: 0 }]);
    await world.time.advance(5_000);
    expect(world.pool.last.aborted).toBe(true);
    await world.time.until(() => world.hasEnded(claims));
    world.control.always("heartbeat", null);
    await world.time.advance(2 * MINUTE);
    expect(world.control.receipts.of(claims.jti)).toMatchObject({
      outcome: "lease_lost",
      reason: "lease_expired",
    });
  });

  test("on_lost fail: the job runs on and its outcome arrives late", async () => {
    await using world = await World.make();
    await world.start();
    const claims = await world.startJob({ on_lost: "fail" });
    world.control.always("heartbeat", unreachable);
    await world.time.advance(15 * MINUTE);
    expect(stopped(world)).toEqual([]);
    world.pool.last.report();
    await world.time.until(() => world.hasEnded(claims));
    world.control.always("heartbeat", null);
    await world.time.advance(2 * MINUTE);
    expect(world.control.receipts.of(claims.jti)?.outcome).toBe("succeeded");
    expect(world.control.violations).toEqual([]);
  });

  test("each beat renews it", async () => {
    await using world = await World.make();
    await world.start();
    await world.startJob({ on_lost: "requeue" });
    await world.time.advance(20 * MINUTE);
    expect(stopped(world)).toEqual([]);
  });

  test("a reply without it does not end a running job before its old end", async () => {
    await using world = await World.make();
    await world.start();
    await world.startJob({ on_lost: "requeue" });
    const granted = world.control.to("heartbeat").at(-1)?.at ?? 0;
    world.control.grants = () => false;
    await world.time.advance(granted + 298_000 - world.time.bootMs());
    expect(stopped(world)).toEqual([]);
    await world.time.advance(4_000);
    expect(stopped(world)).toHaveLength(1);
  });
});

describe("the end of a lease is counted", () => {
  test("from the sending of the beat: a slow reply does not lengthen it", async () => {
    await using world = await World.make();
    await world.start();
    const claims = await world.control.offer({ on_lost: "requeue" });
    world.control.next("heartbeat", async (honest) => await honest(), slow(28_000));
    world.agent.news();
    await world.time.advanceUntil(() => world.row(claims)?.state === "running", MINUTE);
    await world.time.until(() => world.pool.tasks.length === 1);
    const sent = world.control.to("heartbeat").at(-1)?.at ?? 0;
    expect(world.time.bootMs() - sent).toBeGreaterThanOrEqual(28_000);
    world.control.always("heartbeat", unreachable);
    await world.time.advance(sent + 301_100 - world.time.bootMs());
    expect(stopped(world)).toHaveLength(1);
  });

  test("from the first sending: a reply that was lost and is repeated brings no longer lease", async () => {
    await using world = await World.make({ jitter: 255 });
    await world.start();
    const claims = await world.control.offer({ on_lost: "requeue" });
    world.control.next("heartbeat", async (honest) => await honest(), lost);
    world.agent.news();
    await world.time.settle();
    const sent = world.control.to("heartbeat").at(-1)?.at ?? 0;
    world.control.always("heartbeat", unreachable);
    await world.time.advance(200_000);
    world.control.always("heartbeat", null);
    world.control.next("heartbeat", async (honest) => {
      world.control.always("heartbeat", unreachable);
      return await honest();
    });
    await world.time.advanceUntil(() => world.row(claims)?.state === "running", MINUTE);
    await world.time.until(() => world.pool.tasks.length === 1);
    await world.time.advance(sent + 301_100 - world.time.bootMs());
    expect(stopped(world)).toEqual([{ type: "stop", cause: "lease_expired", grace_ms: 0 }]);
    expect(world.control.violations).toEqual([]);
  });

  test.each([
    [true, "running"],
    [false, "delivered"],
  ])(
    "one that ran out before its reply came starts nothing until it is granted anew (%p)",
    async (again, state) => {
      await using world = await World.make({ jitter: 255 });
      await world.start();
      const claims = await world.control.offer({ on_lost: "requeue" });
      world.control.next("heartbeat", async (honest) => await honest(), lost);
      world.agent.news();
      await world.time.settle();
      world.control.always("heartbeat", unreachable);
      await world.time.advance(400_000);
      world.control.grants = () => again;
      world.control.always("heartbeat", null);
      world.control.next("heartbeat", async (honest) => await honest(), delayed(9_000));
      await world.time.advanceUntil(() => world.row(claims)?.state === "leased", 2 * MINUTE);
      await world.time.advance(8_000);
      expect(world.pool.tasks).toEqual([]);
      await world.time.advance(8_000);
      expect(world.row(claims)?.state).toBe(state as "running");
      await world.time.until(() => world.pool.tasks.length === (again ? 1 : 0));
      expect(world.control.receipts.of(claims.jti)?.reason).toBe(again ? undefined : "never_started");
      expect(world.control.violations).toEqual([]);
    },
  );

  test("on the boot clock: a host that slept through it stops the job within a second of waking", async () => {
    await using world = await World.make();
    await world.start();
    await world.startJob({ on_lost: "requeue" });
    world.control.always("heartbeat", unreachable);
    await world.time.suspend(3_600_000);
    expect(stopped(world)).toEqual([]);
    await world.time.advance(1_000);
    expect(stopped(world)).toHaveLength(1);
  });

  test("not on the wall clock, whoever sets it", async () => {
    await using world = await World.make();
    await world.start();
    await world.startJob({ on_lost: "requeue" });
    world.control.always("heartbeat", unreachable);
    world.time.setWall(world.time.wallMs() + 365 * 86_400_000);
    await world.time.advance(2 * MINUTE);
    expect(stopped(world)).toEqual([]);
    world.time.setWall(world.time.wallMs() - 730 * 86_400_000);
    await world.time.advance(2 * MINUTE);
    expect(stopped(world)).toEqual([]);
  });
});

describe("a job that ends while the reply to a beat is under way", () => {
  test("keeps its outcome, whether the reply grants it or not", async () => {
    for (const granted of [true, false]) {
      await using world = await World.make();
      await world.start();
      const claims = await world.startJob();
      await world.time.advance(3_000);
      world.control.grants = () => granted;
      world.control.next("heartbeat", slow(5_000));
      world.agent.news();
      await world.time.advance(1_000);
      world.pool.last.report({ end: "failed", reason: "tests_failed" });
      await world.time.until(() => world.hasEnded(claims));
      await world.time.advance(8_000);
      expect(world.row(claims)?.state).toBe("delivered");
      expect(world.control.receipts.claims.map(({ outcome }) => outcome)).toEqual(["failed"]);
      expect(world.control.violations).toEqual([]);
    }
  });

  test("and many that end while replies refuse and reject: one unbroken chain of receipts", async () => {
    await using world = await World.make({ license: { max_concurrent_tasks_per_agent: 8 } });
    await world.start();
    const jobs: JobClaims[] = [];
    for (let i = 0; i < 6; i++) jobs.push(await world.startJob());
    await world.time.advance(10_000);
    for (const [index] of jobs.entries()) {
      await world.control.offer({ kind: "no.such" });
      world.control.offers.push(`rubbish ${index}`);
      world.agent.news();
      world.pool.tasks[index]?.report();
      await world.time.settle();
    }
    await world.time.advance(30_000);
    await world.time.until(() => jobs.every((claims) => world.hasEnded(claims)));
    await world.time.advance(10_000);
    expect(world.control.receipts.claims).toHaveLength(12);
    expect(world.control.violations).toEqual([]);
  });
});

describe("the lease book", () => {
  test("tells each end once, forgets it, and keeps no timer when nothing is left", async () => {
    using time = new VirtualTime();
    const ends: string[] = [];
    const book = new LeaseBook(time, time, (jti, attempt) => ends.push(`${jti}/${attempt}`));
    for (let i = 0; i < 100; i++) {
      const untilBootMs = time.bootMs() + 1_000 * (i + 1);
      book.note({ jti: `job-${i}`, attempt: 1, event: "lease", untilBootMs });
    }
    book.note({ jti: "other", attempt: 1, event: "lease_missing", untilBootMs: null });
    expect(time.pending).toBe(1);
    expect(book.holds("job-0", 1)).toBe(true);
    expect(book.holds("other", 1)).toBe(false);
    await time.advance(102_000);
    expect(new Set(ends).size).toBe(100);
    expect(ends).toHaveLength(100);
    expect(time.pending).toBe(0);
    expect(book.holds("job-99", 1)).toBe(false);
  });

  test("cleared, it tells nothing more", async () => {
    using time = new VirtualTime();
    const ends: string[] = [];
    const book = new LeaseBook(time, time, (jti) => ends.push(jti));
    book.note({ jti: "a", attempt: 1, event: "lease", untilBootMs: time.bootMs() + 500 });
    book.clear();
    await time.advance(5_000);
    expect(ends).toEqual([]);
    expect(time.pending).toBe(0);
  });
});
