// Goal: beats leave when they should and never faster: the interval with its jitter and bounds, backoff, Retry-After,
// the budget for news; one at a time; the same bytes until they are answered.
// Method: the real loop under virtual time against a scripted Control Plane that notes the time of each request.

import { describe, expect, test } from "bun:test";
import { fault } from "../../../src/fault/fault.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import {
  altered,
  answers,
  delayed,
  html,
  lost,
  redirect,
  refuses,
  retyped,
  says,
  signedForAgent,
  signedForRequest,
  signedWith,
  silent,
  unreachable,
  unsigned,
} from "../../support/lies.ts";
import { World } from "./world.ts";

const MINUTE = 60_000;
const times = (world: World) => world.control.to("heartbeat").map(({ at }) => at);
const gaps = (world: World) =>
  times(world)
    .map((at, index, all) => at - (all[index - 1] ?? at))
    .slice(1);

describe("the interval", () => {
  test.each([
    [0, 54_000],
    [128, 60_000],
    [255, 66_000],
  ])("is a minute ± 10 %% (jitter byte %i)", async (jitter, expected) => {
    await using world = await World.make({ jitter });
    await world.start();
    await world.time.advance(10 * MINUTE);
    expect(gaps(world).length).toBeGreaterThanOrEqual(8);
    for (const gap of gaps(world)) expect(Math.abs(gap - expected)).toBeLessThan(60);
    expect(world.control.violations).toEqual([]);
  });

  test.each([
    [1, 10],
    [0, 10],
    [30, 30],
    [100_000, 300],
  ])("the server asks for %i s and gets %i s", async (asked, given) => {
    await using world = await World.make();
    world.control.intervalS = asked;
    await world.start();
    await world.time.advance(given * 5_000);
    for (const gap of gaps(world)) expect(Math.abs(gap - given * 1000)).toBeLessThan(given * 10);
    expect(gaps(world).length).toBeGreaterThan(2);
  });

  test("the first beat goes out at once", async () => {
    await using world = await World.make();
    await world.start();
    expect(world.control.beats).toHaveLength(1);
  });
});

describe("after a failure", () => {
  const troubles = {
    "no connection": unreachable,
    "an answer lost": lost,
    "no answer": silent,
    "a login page": html,
    "401 without a problem": answers(401),
    "404": answers(404, { "content-type": "text/html" }, "<h1>nginx</h1>"),
    "500": answers(500),
    "503": answers(503),
    "a redirect": redirect,
    "an empty 200": answers(200, { "content-type": "application/json" }),
    refused: refuses(403, "API_FORBIDDEN"),
    unsigned: unsigned,
    "signed by the job key": signedWith(({ authority }) => authority.keys.job),
    "signed for another agent": signedForAgent(`agt_${"x".repeat(20)}`),
    "signed for another request": signedForRequest("A".repeat(22)),
    "altered on the way": altered((text) => text.replace('"interval_s":60', '"interval_s":61')),
    "cut on the way": altered((text) => text.slice(0, -10)),
    oversized: altered((text) => text + " ".repeat(LIMITS.REPLY_BODY_BYTES)),
    "of the wrong media type": retyped("text/plain"),
    "signed and malformed": says((reply) => ({ ...reply, surprise: true })),
  };

  for (const [name, lie] of Object.entries(troubles)) {
    test(`${name}: nothing is used, the same bytes go out again`, async () => {
      await using world = await World.make();
      await world.start();
      const before = world.journal.chain();
      const claims = await world.control.offer();
      world.control.next("heartbeat", lie, lie);
      world.agent.news();
      await world.time.advanceUntil(() => world.heard("beat.failed").length === 2, 3 * MINUTE);
      expect(world.journal.chain()).toEqual(before);
      expect(world.row(claims)).toBeNull();
      await world.time.advanceUntil(() => world.row(claims) !== null, 2 * MINUTE);
      const [, first, second, third] = world.control.to("heartbeat").map(({ body }) => sha256Of(body));
      expect([second, third]).toEqual([first, first]);
      expect(world.journal.readMeta("last_failure")).toContain(
        String(world.heard("beat.failed")[0]?.["code"]),
      );
      expect(world.control.violations).toEqual([]);
    });
  }

  test("the waits double up to a minute, each a random part of its ceiling", async () => {
    await using world = await World.make({ jitter: 255 });
    world.control.always("heartbeat", unreachable);
    await world.start();
    await world.time.advance(6 * MINUTE);
    const ceilings = [2, 4, 8, 16, 32, 60, 60, 60];
    for (const [index, gap] of gaps(world).entries()) {
      const ceiling = (ceilings[index] ?? 60) * 1000;
      expect(gap).toBeLessThanOrEqual(ceiling);
      expect(gap).toBeGreaterThan(ceiling * 0.99);
    }
    expect(gaps(world).length).toBeGreaterThan(7);
  });

  test("once it is answered again it asks once more at once: that answer may have been made long ago", async () => {
    await using world = await World.make();
    world.control.next("heartbeat", lost, unreachable, unreachable);
    await world.start();
    await world.time.advance(20_000);
    expect(times(world)).toHaveLength(5);
    expect(world.control.beats).toHaveLength(2);
  });

  test.each([
    [answers(429, { "retry-after": "90" }), 90],
    [answers(503, { "retry-after": "20" }), 20],
    [refuses(429, "API_BUSY", { headers: { "retry-after": "45" } }), 45],
    [answers(429, { "retry-after": "86400" }), 300],
    [answers(429, { "retry-after": "-5" }), 1],
    [answers(429), 1],
  ])("Retry-After is the least it waits (%#)", async (lie, seconds) => {
    await using world = await World.make({ jitter: 0 });
    await world.start();
    world.control.next("heartbeat", lie);
    world.agent.news();
    await world.time.settle();
    world.agent.news(); // does not shorten it
    await world.time.advance(seconds * 1000 - 1);
    expect(times(world)).toHaveLength(2);
    await world.time.advance(2);
    expect(times(world)).toHaveLength(4); // the beat once more, then the news
  });

  test("the interval starts anew after a success, and the backoff from its shortest", async () => {
    await using world = await World.make({ jitter: 255 });
    const fails = Array.from({ length: 5 }, () => unreachable);
    world.control.next("heartbeat", ...fails);
    await world.start();
    await world.time.advance(2 * MINUTE);
    world.control.next("heartbeat", unreachable);
    await world.time.advanceUntil(() => world.heard("beat.failed").length === 6, 2 * MINUTE);
    const failedAt = world.time.bootMs();
    await world.time.advance(2_000);
    expect((times(world).at(-1) ?? 0) - failedAt).toBeLessThanOrEqual(2_000);
    expect(times(world).at(-1)).toBeGreaterThan(failedAt);
  });
});

describe("news", () => {
  test("five beats at once, then one every two seconds", async () => {
    await using world = await World.make();
    await world.start();
    const start = world.time.bootMs();
    for (let i = 0; i < 300; i++) {
      world.agent.news();
      await world.time.advance(100);
    }
    const early = times(world).filter((at) => at - start < 1_000);
    expect(early).toHaveLength(5); // the first beat of its life is one of them
    const later = times(world).filter((at) => at - start >= 1_000);
    expect(later.length).toBeGreaterThanOrEqual(13);
    expect(later.length).toBeLessThanOrEqual(15);
    for (const gap of gaps(world).slice(5)) expect(gap).toBeGreaterThanOrEqual(1_900);
  });

  test("what happens while a beat is under way goes into the next, at once", async () => {
    await using world = await World.make();
    await world.start();
    world.control.next("heartbeat", delayed(5_000));
    world.agent.news();
    await world.time.advance(1_000);
    for (let i = 0; i < 50; i++) world.agent.news();
    expect(times(world)).toHaveLength(2);
    await world.time.advance(5_000);
    expect(times(world)).toHaveLength(3);
  });

  test("what happens while a beat is being tried again is not taken for told", async () => {
    await using world = await World.make({ jitter: 0 });
    await world.start();
    world.control.next("heartbeat", lost, answers(503, { "retry-after": "10" }));
    world.agent.news();
    await world.time.settle();
    world.agent.news(); // the bytes under way know nothing of this
    await world.time.advance(10_500);
    expect(world.control.beats).toHaveLength(3);
    expect(times(world)).toHaveLength(5);
  });

  test("a server that never acknowledges does not make the agent beat on and on", async () => {
    await using world = await World.make();
    world.control.acks = false;
    await world.start();
    const claims = await world.startJob();
    world.pool.last.report();
    await world.time.until(() => world.hasEnded(claims));
    await world.time.advance(3_000);
    const before = times(world).length;
    await world.time.advance(5 * MINUTE);
    expect(times(world).length - before).toBeLessThanOrEqual(5);
    expect(world.control.receipts.claims).toHaveLength(1);
    world.control.acks = true;
    await world.time.advance(MINUTE);
    expect(world.row(claims)?.state).toBe("delivered");
  });

  test("more receipts than one beat carries follow at once", async () => {
    await using world = await World.make({ license: { max_concurrent_tasks_per_agent: 20 } });
    await world.start();
    world.decide = () => ({ ok: false, why: fault("JOB_KIND_UNKNOWN", { kind: "x.y" }) });
    for (let i = 0; i < 20; i++) await world.control.offer();
    world.agent.news();
    await world.time.advance(10_000);
    expect(world.control.receipts.claims).toHaveLength(20);
    expect(world.control.beats.map(({ receipts }) => receipts.length).slice(2)).toEqual([16, 4]);
    expect(world.control.violations).toEqual([]);
  });
});

describe("one at a time", () => {
  test("while a beat hangs, interval and news start no second one", async () => {
    await using world = await World.make();
    await world.start();
    world.control.next("heartbeat", silent);
    world.agent.news();
    await world.time.advance(20_000);
    for (let i = 0; i < 20; i++) world.agent.news();
    await world.time.advance(9_000);
    expect(times(world)).toHaveLength(2);
    await world.time.advance(MINUTE);
    expect(world.control.violations).toEqual([]);
    expect(world.control.beats.length).toBeGreaterThan(1);
  });

  test("a new request id after each success, never the same twice", async () => {
    await using world = await World.make();
    await world.start();
    await world.time.advance(10 * MINUTE);
    const rids = world.control.beats.map(({ beat }) => beat.rid);
    expect(new Set(rids).size).toBe(rids.length);
    expect(new Set(world.control.beats.map(({ beat }) => beat.inst)).size).toBe(1);
    expect(world.control.beats.map(({ beat }) => beat.n)).toEqual(rids.map((_, index) => index));
  });

  test("the request id is on disk before the request leaves", async () => {
    await using world = await World.make();
    const onDisk: (string | null)[] = [];
    world.control.always("heartbeat", async (honest) => {
      onDisk.push(world.journal.readMeta("pending_rid"));
      return await honest();
    });
    await world.start();
    await world.time.advance(3 * MINUTE);
    expect(onDisk).toEqual(world.control.beats.map(({ beat }) => beat.rid));
  });

  test("after a suspend longer than its interval it beats within seconds", async () => {
    await using world = await World.make();
    await world.start();
    await world.time.suspend(8 * 3_600_000);
    await world.time.advance(10_000);
    expect(times(world)).toHaveLength(2);
    expect(world.control.violations).toEqual([]);
  });
});
