// Goal: every byte of a job's log reaches the Control Plane once, in its pace, and no answer makes the shipper hurry, hang,
// hammer or grow.
// Method: the real shipper in the real loop; the test writes the log files, the scripted Control Plane notes what arrives.

import { describe, expect, test } from "bun:test";
import { appendFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import type { JobClaims } from "../../../src/protocol/job.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { answers, delayed, html, lost, refuses, silent, unreachable } from "../../support/lies.ts";
import { World } from "./world.ts";

const MINUTE = 60_000;
const running = async () => {
  const world = await World.make();
  await world.start();
  const claims = await world.startJob();
  const path = world.pool.last.task.logPath;
  writeFileSync(path, "");
  return { world, claims, path };
};
const report = async (world: World, claims: JobClaims, text: string) => {
  world.pool.last.report({ log: { sha256: sha256Of(text), size: Buffer.byteLength(text) } });
  await world.time.until(() => world.hasEnded(claims));
};
const puts = (world: World) => world.control.to("log");
const progress = (world: World) => (world.shipper as unknown as { progress: Map<string, unknown> }).progress;

const CLAIMS_ALL = '{"stored":9007199254740991,"watched":false}';

describe("the pace", () => {
  test("a little output goes every ten seconds, every second while someone reads along", async () => {
    const { world, path, claims } = await running();
    await using _ = world;
    for (let i = 0; i < 200; i++) {
      appendFileSync(path, `line ${i}\n`);
      await world.time.advance(200);
    }
    expect(puts(world).length).toBeGreaterThanOrEqual(4);
    expect(puts(world).length).toBeLessThanOrEqual(5);
    world.control.logs.watched = true;
    await world.time.advance(10_000);
    const before = puts(world).length;
    for (let i = 0; i < 50; i++) {
      appendFileSync(path, `line ${i}\n`);
      await world.time.advance(200);
    }
    expect(puts(world).length - before).toBeGreaterThanOrEqual(8);
    expect(puts(world).length - before).toBeLessThanOrEqual(10);
    expect(world.control.logs.text(claims.jti)).toStartWith("line 0\nline 1\n");
  });

  test("64 KiB go at once, in pieces one request carries, and no piece twice", async () => {
    const { world, path, claims } = await running();
    await using _ = world;
    appendFileSync(path, "first\n");
    await world.time.advance(1_000);
    const text = "x".repeat(700_000);
    appendFileSync(path, text);
    await world.time.advance(800);
    expect(world.control.logs.text(claims.jti)).toBe(`first\n${text}`);
    const sizes = world.control.logs.puts.map(({ size }) => size);
    expect(Math.max(...sizes)).toBe(LIMITS.LOG_CHUNK_BYTES);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(700_006);
  });

  test("the rest goes when the job has ended", async () => {
    const { world, path, claims } = await running();
    await using _ = world;
    appendFileSync(path, "one\n");
    await world.time.advance(1_000);
    appendFileSync(path, "two\n");
    await report(world, claims, "one\ntwo\n");
    await world.time.advance(500);
    expect(world.control.logs.text(claims.jti)).toBe("one\ntwo\n");
    expect(world.row(claims)?.logSent).toBe(8);
  });

  test("nothing to send, nothing to look at: no timer but the loop's", async () => {
    const { world, path, claims } = await running();
    await using _ = world;
    appendFileSync(path, "one\n");
    await report(world, claims, "one\n");
    await world.time.advance(10 * MINUTE);
    expect(progress(world).size).toBe(0);
    const before = world.time.pending;
    await world.time.advance(1_000);
    expect(world.time.pending).toBe(before);
    expect(puts(world)).toHaveLength(1);
  });

  test("no attempt leaves anything in memory", async () => {
    await using world = await World.make();
    await world.start();
    for (let i = 0; i < 20; i++) {
      const claims = await world.startJob();
      writeFileSync(world.pool.last.task.logPath, "hello\n");
      await report(world, claims, "hello\n");
      await world.time.advance(5_000);
    }
    expect(progress(world).size).toBe(0);
    expect(puts(world)).toHaveLength(20);
  });
});

describe("resuming", () => {
  test("a next life goes on where the last one stood", async () => {
    const { world, path, claims } = await running();
    await using _ = world;
    appendFileSync(path, "one\n");
    await world.time.advance(1_000);
    appendFileSync(path, "two\n");
    world.control.always("log", unreachable);
    await report(world, claims, "one\ntwo\n");
    await world.time.advance(2_000);
    world.kill();
    world.control.always("log", null);
    await using next = await World.make({ like: world });
    await next.start();
    await next.time.advance(1_000);
    expect(world.control.logs.puts.map(({ offset, size }) => [offset, size])).toEqual([
      [0, 4],
      [4, 4],
    ]);
    expect(next.row(claims)?.logSent).toBe(8);
  });

  test("bytes that arrived and whose answer was lost are sent again to the same place", async () => {
    const { world, path, claims } = await running();
    await using _ = world;
    world.control.next("log", lost);
    appendFileSync(path, "one\n");
    await world.time.advance(1_000);
    appendFileSync(path, "two\n");
    await report(world, claims, "one\ntwo\n");
    await world.time.advance(MINUTE);
    expect(world.control.logs.text(claims.jti)).toBe("one\ntwo\n");
    expect(world.control.violations).toEqual([]);
  });

  test("a server that lost some is given it again from the beginning", async () => {
    const { world, path, claims } = await running();
    await using _ = world;
    appendFileSync(path, "a".repeat(100_000));
    await world.time.advance(1_000);
    world.control.logs.cut(claims.jti, 50_000);
    appendFileSync(path, "b".repeat(100_000));
    await world.time.advance(2_000);
    expect(world.control.logs.text(claims.jti)).toBe("a".repeat(100_000) + "b".repeat(100_000));
  });

  test("a server that has other bytes is left alone after one more try", async () => {
    const { world, path, claims } = await running();
    await using _ = world;
    appendFileSync(path, "a".repeat(100_000));
    await world.time.advance(1_000);
    writeFileSync(path, "b".repeat(200_000));
    world.control.logs.cut(claims.jti, 50_000);
    await world.time.advance(10 * MINUTE);
    expect(puts(world).length).toBeLessThanOrEqual(3);
    await report(world, claims, "b".repeat(200_000));
    await world.time.advance(10 * MINUTE);
    expect(puts(world).length).toBeLessThanOrEqual(3);
    expect(progress(world).size).toBe(0);
    expect(world.heard("log.unsent").at(-1)?.["code"]).toBe("API_OFFSET_MISMATCH");
  });

  test("nothing beyond what the receipt names is ever sent, and a file cut short ends the sending", async () => {
    const { world, path, claims } = await running();
    await using _ = world;
    appendFileSync(path, "one\ntwo\nand what came after the end\n");
    await report(world, claims, "one\ntwo\n");
    await world.time.advance(MINUTE);
    expect(world.control.logs.text(claims.jti)).toBe("one\ntwo\n");
    const second = await world.startJob();
    writeFileSync(world.pool.last.task.logPath, "long enough\n");
    truncateSync(world.pool.last.task.logPath, 4);
    await report(world, second, "long enough\n");
    await world.time.advance(MINUTE);
    expect(world.control.logs.text(second.jti)).toBe("long");
    expect(progress(world).size).toBe(0);
  });
});

describe("trouble", () => {
  test.each([
    ["unreachable", unreachable],
    ["broken", answers(500)],
    ["a login page", html],
    ["answering nonsense", answers(200, { "content-type": "application/json" }, '{"stored":"all"}')],
    ["storing more than there is", answers(200, { "content-type": "application/json" }, CLAIMS_ALL)],
    ["storing nothing", answers(200, { "content-type": "application/json" }, '{"stored":0,"watched":true}')],
  ])("a log route that is %s is asked ever more rarely, then gets everything", async (_, lie) => {
    const { world, path, claims } = await running();
    await using __ = world;
    world.control.always("log", lie);
    appendFileSync(path, "y".repeat(300_000));
    await report(world, claims, "y".repeat(300_000));
    await world.time.advance(30 * MINUTE);
    expect(puts(world).length).toBeGreaterThan(10);
    expect(puts(world).length).toBeLessThan(40);
    world.control.always("log", null);
    await world.time.advance(2 * MINUTE);
    expect(world.control.logs.text(claims.jti)).toBe("y".repeat(300_000));
  });

  test("Retry-After is honoured", async () => {
    const { world, path, claims } = await running();
    await using _ = world;
    world.control.next("log", answers(429, { "retry-after": "200" }));
    appendFileSync(path, "z".repeat(100_000));
    await world.time.advance(199_000);
    expect(puts(world)).toHaveLength(1);
    await world.time.advance(2_000);
    expect(world.control.logs.text(claims.jti)).toHaveLength(100_000);
  });

  test.each(["LEASE_NOT_HELD", "API_NOT_FOUND", "API_BODY_OVERSIZED"])(
    "%s is the last word about a log, for its running and its ended job, in this life",
    async (code) => {
      const { world, path, claims } = await running();
      await using _ = world;
      world.control.always("log", refuses(403, code));
      appendFileSync(path, "q".repeat(100_000));
      await world.time.advance(5 * MINUTE);
      expect(puts(world)).toHaveLength(1);
      appendFileSync(path, "q".repeat(100_000));
      await report(world, claims, "q".repeat(200_000));
      await world.startJob(); // wakes the shipper
      await world.time.advance(5 * MINUTE);
      expect(puts(world)).toHaveLength(1);
      expect(world.journal.unsentLogs().map(({ jti }) => jti)).not.toContain(claims.jti);
    },
  );

  test("a log route that hangs holds up neither beats nor the lease", async () => {
    const { world, path } = await running();
    await using _ = world;
    world.control.always("log", silent);
    appendFileSync(path, "w".repeat(100_000));
    const before = world.control.beats.length;
    await world.time.advance(10 * MINUTE);
    expect(world.control.beats.length - before).toBeGreaterThanOrEqual(9);
    expect(world.pool.last.heard).toEqual([]);
  });

  test("no two requests for one log at a time, not even at the very end", async () => {
    const { world, path, claims } = await running();
    await using _ = world;
    let open = 0;
    let most = 0;
    world.control.always("log", async (honest, exchange, control) => {
      open += 1;
      most = Math.max(most, open);
      const response = await delayed(3_000)(honest, exchange, control);
      open -= 1;
      return response;
    });
    const text = "v".repeat(300_000);
    appendFileSync(path, text);
    await world.time.advance(400);
    expect(open).toBe(1);
    world.agent.drain(MINUTE);
    await report(world, claims, text);
    await world.time.advance(12_000);
    expect(world.exit).toBe(0);
    expect(most).toBe(1);
    expect(world.control.logs.text(claims.jti)).toBe(text);
    expect(world.time.pending).toBe(0);
  });

  test("a log that is a link, or gone, is not followed and does no harm", async () => {
    const { world, path, claims } = await running();
    await using _ = world;
    rmSync(path);
    symlinkSync("/etc/passwd", path);
    await report(world, claims, "x".repeat(500));
    await world.time.advance(10 * MINUTE);
    expect(puts(world)).toEqual([]);
    rmSync(path);
    await world.time.advance(2 * MINUTE);
    expect(world.journal.unsentLogs()).toEqual([]);
    expect(world.failure).toBeNull();
  });

  test("a log that vanishes while it is being sent does no harm", async () => {
    const { world, path, claims } = await running();
    await using _ = world;
    world.control.next("log", async (honest) => {
      rmSync(path);
      return await honest();
    });
    appendFileSync(path, "x".repeat(100_000));
    await report(world, claims, "x".repeat(100_000));
    await world.time.advance(5 * MINUTE);
    expect(world.failure).toBeNull();
    expect(world.journal.unsentLogs()).toEqual([]);
  });

  test("twenty logs share the way: one that hangs for good delays the others, it does not stop them", async () => {
    await using world = await World.make({ license: { max_concurrent_tasks_per_agent: 20 } });
    await world.start();
    const jobs: JobClaims[] = [];
    for (let i = 0; i < 5; i++) {
      const claims = await world.startJob();
      writeFileSync(world.pool.last.task.logPath, "m".repeat(100_000));
      jobs.push(claims);
    }
    const [stuck] = jobs;
    world.control.always("log", async (honest, exchange, control) =>
      exchange.url.pathname.includes(stuck?.jti ?? "-")
        ? await silent(honest, exchange, control)
        : await honest(),
    );
    await world.time.advance(2 * MINUTE);
    for (const { jti } of jobs.slice(1)) expect(world.control.logs.text(jti)).toHaveLength(100_000);
  });
});
