// Goal: a started attempt ends once, in bounded time, with the outcome it deserves, whatever its worker, its inputs and the
// agent's own asking do; and leaves nothing behind but its log and its receipt.
// Method: the real runner in the real loop, with workers and a Control Plane that do what the test says.

import type { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { STOP_CAUSES, type StopCause } from "../../../src/protocol/execution.ts";
import type { JobClaims } from "../../../src/protocol/job.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { answers, silent, unreachable } from "../../support/lies.ts";
import type { Lie } from "../../support/scripted-control.ts";
import { World } from "./world.ts";

const started = async () => {
  const world = await World.make();
  await world.start();
  return world;
};
const limits = (timeout_s: number): JobClaims["limits"] => ({
  timeout_s,
  memory_bytes: 16_777_216,
  pids: 10,
  output_bytes: 1024,
  workspace_bytes: 1_048_576,
});
const endOf = async (world: World, claims: JobClaims) => {
  await world.time.until(() => world.hasEnded(claims));
  const row = world.row(claims);
  return [row?.outcome, row?.reason];
};

const runnerStops = (world: World, { jti, attempt }: JobClaims) => {
  for (const cause of STOP_CAUSES) world.runner.stop(jti, attempt, cause, 0);
};

describe("a worker", () => {
  test("gets the job as it was decided, in a private directory of its own", async () => {
    await using world = await started();
    const claims = await world.startJob();
    const { task } = world.pool.last;
    expect(task).toMatchObject({ jti: claims.jti, attempt: 1, kind: "test.run", payload: claims.payload });
    expect(task.grant).toMatchObject({ scope: claims.scope, limits: claims.limits });
    for (const dir of [task.workDir, join(task.workDir, "..")])
      expect(statSync(dir).mode & 0o777).toBe(0o700);
    expect(readdirSync(task.workDir)).toEqual([]);
    world.pool.last.report();
    expect(await endOf(world, claims)).toEqual(["succeeded", "tests_passed"]);
    expect(existsSync(join(task.workDir, ".."))).toBe(false);
    expect(world.runner.running).toBe(0);
  });

  test.each([
    ["nothing", undefined],
    ["a text", "all is well"],
    ["an unknown end", { end: "great" }],
    ["an outcome of its own", { outcome: "succeeded" }],
    ["too much", { end: "succeeded", surprise: 1 }],
  ])("that reports %s has died", async (_, said) => {
    await using world = await started();
    const claims = await world.startJob();
    world.pool.last.reportRaw(said);
    expect(await endOf(world, claims)).toEqual(["failed", "worker_died"]);
    expect(world.heard("worker.report_malformed")).toHaveLength(1);
  });

  test("that dies has died", async () => {
    await using world = await started();
    const claims = await world.startJob();
    world.pool.last.die();
    expect(await endOf(world, claims)).toEqual(["failed", "worker_died"]);
  });

  test("that claims a stop nobody asked for has failed", async () => {
    await using world = await started();
    const claims = await world.startJob();
    world.pool.last.report({ end: "stopped", reason: "order_cancel", stop_cause: "lease_expired" });
    expect(await endOf(world, claims)).toEqual(["failed", "worker_died"]);
  });

  test("tells its steps; what is not a step is not heard", async () => {
    await using world = await started();
    const claims = await world.startJob();
    const { port } = world.pool.last.task;
    for (const noise of [
      null,
      7,
      "step",
      { type: "step" },
      { type: "step", step: "x\ny", at: 1 },
      { type: "stop" },
    ]) {
      port.postMessage(noise);
    }
    world.pool.last.step("checkout \ud83d", 5);
    await world.time.until(() => world.row(claims)?.step !== null);
    await world.time.advance(61_000);
    const named = world.control.beats.at(-1)?.jobs[0];
    expect(named).toMatchObject({
      state: "running",
      progress: { step: "checkout \ufffd", step_started_at: 5 },
    });
    expect(world.heard("job.step")).toHaveLength(1);
    expect(world.control.violations).toEqual([]);
  });

  test("that speaks after its end is not heard, and nothing is asked of it", async () => {
    await using world = await started();
    const claims = await world.startJob();
    const { last } = world.pool;
    last.report();
    await world.time.until(() => world.hasEnded(claims));
    last.step("too late", 9);
    world.runner.stop(claims.jti, 1, "order_cancel");
    world.runner.stopAll("host_stopping", 0);
    await world.time.advance(60_000);
    expect(world.row(claims)?.step).toBeNull();
    expect(last.heard).toEqual([]);
    expect(world.failure).toBeNull();
  });
});

describe("a stop", () => {
  test("at the deadline: asked, then after its grace and five seconds cut off", async () => {
    await using world = await started();
    const claims = await world.startJob({ limits: limits(30) });
    const at = world.time.bootMs();
    await world.time.advanceUntil(() => world.row(claims)?.state === "stopping", 40_000);
    expect(world.time.bootMs() - at).toBe(30_000);
    await world.time.until(() => world.pool.last.heard.length === 1);
    expect(world.pool.last.heard).toEqual([{ type: "stop", cause: "deadline", grace_ms: 5_000 }]);
    await world.time.advance(9_999);
    expect(world.pool.last.aborted).toBe(false);
    await world.time.advance(1);
    expect(world.pool.last.aborted).toBe(true);
    expect(await endOf(world, claims)).toEqual(["timed_out", "deadline"]);
  });

  test("before the job's own end came through leaves it that end", async () => {
    await using world = await started();
    const claims = await world.startJob();
    world.runner.stop(claims.jti, 1, "order_cancel");
    world.pool.last.report({ end: "failed", reason: "tests_failed" });
    expect(await endOf(world, claims)).toEqual(["failed", "tests_failed"]);
  });

  test("asked for again can only come sooner, and keeps its first cause", async () => {
    await using world = await started();
    const claims = await world.startJob();
    const ask = (cause: StopCause, graceMs: number) => world.runner.stop(claims.jti, 1, cause, graceMs);
    ask("host_stopping", 60_000);
    ask("deadline", 120_000); // later: not worth a word
    ask("lease_expired", 0);
    ask("order_cancel", 30_000);
    await world.time.until(() => world.pool.last.heard.length === 2);
    expect(world.pool.last.heard).toEqual([
      { type: "stop", cause: "host_stopping", grace_ms: 60_000 },
      { type: "stop", cause: "host_stopping", grace_ms: 0 },
    ]);
    await world.time.advance(5_000);
    expect(world.pool.last.aborted).toBe(true);
    expect(await endOf(world, claims)).toEqual(["cancelled", "host_stopping"]);
  });

  test("asked for without end makes no heap of timers and messages", async () => {
    await using world = await started();
    const claims = await world.startJob();
    const before = world.time.pending;
    for (let i = 0; i < 1_000; i++) world.runner.stop(claims.jti, 1, "host_stopping", 5_000);
    expect(world.time.pending - before).toBe(1);
    await world.time.settle();
    expect(world.pool.last.heard).toHaveLength(1);
  });

  test("in the instant of the start reaches no worker", async () => {
    await using world = await started();
    const { runner } = world;
    const start = runner.start.bind(runner);
    runner.start = (row) => {
      start(row);
      runner.stop(row.jti, row.attempt, "order_cancel");
    };
    const claims = await world.control.offer();
    world.agent.news();
    expect(await endOf(world, claims)).toEqual(["cancelled", "order_cancel"]);
    expect(world.pool.tasks).toEqual([]);
  });

  test("after the worker's end, while its outcome waits for the disk, changes nothing", async () => {
    await using world = await started();
    const claims = await world.startJob();
    const { db } = world.journal as unknown as { db: Database };
    db.run("PRAGMA query_only = 1");
    world.pool.last.report();
    await world.time.until(() => world.heard("job.outcome_unstored").length > 0);
    const before = world.time.pending;
    runnerStops(world, claims);
    expect(world.time.pending).toBe(before);
    expect(world.heard("job.stopping")).toEqual([]);
    db.run("PRAGMA query_only = 0");
    await world.time.advance(20_000);
    expect(await endOf(world, claims)).toEqual(["succeeded", "tests_passed"]);
  });

  test("of a job nobody runs is nothing", async () => {
    await using world = await started();
    world.runner.stop("job_nobody", 1, "order_cancel");
    expect(world.events.filter(({ event }) => event === "job.stopping")).toEqual([]);
  });
});

describe("inputs", () => {
  const bytes = Buffer.from("a git bundle, they say\n".repeat(5_000));
  const blob = { name: "source.bundle", sha256: sha256Of(bytes), size: bytes.length };
  const offered = async (world: World, over: Partial<JobClaims> = {}) => {
    world.control.blobs.set(blob.sha256, bytes);
    const claims = await world.control.offer({ blobs: [blob], ...over });
    world.agent.news();
    await world.time.advanceUntil(() => (world.row(claims)?.startedAt ?? null) !== null, 10_000);
    await world.time.until(() => world.control.to("blob").length > 0);
    return claims;
  };
  const stream =
    (parts: readonly Uint8Array[], end: "close" | "cut" | "hang"): Lie =>
    async () => {
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => {
          for (const part of parts) controller.enqueue(part);
          if (end === "close") controller.close();
          if (end === "cut") controller.error(new Error("ECONNRESET"));
        },
      });
      return new Response(body, { headers: { "content-type": "application/octet-stream" } });
    };
  const half = bytes.subarray(0, 50_000);

  test("are there, read-only, when the worker starts", async () => {
    await using world = await started();
    await offered(world);
    await world.time.until(() => world.pool.tasks.length === 1);
    const [input] = world.pool.last.task.blobs;
    expect(input?.name).toBe("source.bundle");
    expect(readFileSync(input?.path ?? "").equals(bytes)).toBe(true);
    expect(statSync(input?.path ?? "").mode & 0o777).toBe(0o400);
  });

  test.each([
    ["are not there", unreachable],
    ["are answered with a failure", answers(502)],
    ["are answered with a login page", answers(200, { "content-type": "text/html" }, "<html>")],
    ["break off", stream([half], "cut")],
    ["end too soon", stream([half], "close")],
    ["come to a standstill", stream([half], "hang")],
    ["are never answered", silent],
  ])("that %s are fetched again until they come", async (_, lie) => {
    await using world = await started();
    world.control.next("blob", lie, lie);
    const claims = await offered(world);
    await world.time.advance(90_000);
    await world.time.until(() => world.pool.tasks.length === 1);
    expect(readFileSync(world.pool.last.task.blobs[0]?.path ?? "").equals(bytes)).toBe(true);
    expect(world.heard("blob.unfetched")).toHaveLength(2);
    expect(world.row(claims)?.state).toBe("running");
    expect(world.control.violations).toEqual([]);
  });

  test("are fetched with a fresh token when the server has forgotten the old one", async () => {
    await using world = await started();
    await world.time.advance(5_000);
    world.control.next("blob", async (honest) => {
      world.control.tokens.clear();
      return await honest();
    });
    await offered(world);
    await world.time.advance(10_000);
    await world.time.until(() => world.pool.tasks.length === 1);
    expect(world.control.violations).toEqual([]);
  });

  test.each([
    ["other bytes", stream([Buffer.alloc(bytes.length)], "close")],
    ["too many bytes", stream([bytes, bytes], "close")],
  ])("that are %s fail the job, and are not kept", async (_, lie) => {
    await using world = await started();
    world.control.next("blob", lie);
    const claims = await offered(world);
    expect(await endOf(world, claims)).toEqual(["failed", "input_unavailable"]);
    await world.time.advance(3_000);
    expect(world.control.receipts.of(claims.jti)?.detail).toContain('"source.bundle"');
    expect(world.pool.tasks).toEqual([]);
    expect(readdirSync(join(world.dir, "work"))).toEqual([]);
  });

  test("that the server does not have fail the job at once", async () => {
    await using world = await started();
    const claims = await offered(world, { blobs: [{ ...blob, sha256: sha256Of("nobody has this") }] });
    expect(await endOf(world, claims)).toEqual(["failed", "input_unavailable"]);
    expect(world.control.to("blob")).toHaveLength(1);
  });

  test("that do not come before the deadline: timed out there and then, and no worker starts", async () => {
    await using world = await started();
    world.control.always("blob", silent);
    const claims = await offered(world, { limits: limits(45) });
    const at = world.time.bootMs();
    await world.time.advance(44_000);
    expect(world.row(claims)?.state).toBe("running");
    await world.time.advance(1_001);
    expect(await endOf(world, claims)).toEqual(["timed_out", "deadline"]);
    expect(world.time.bootMs() - at).toBeLessThan(46_000);
    await world.time.advance(3_000);
    expect(world.control.receipts.of(claims.jti)?.detail).toContain("source.bundle");
    expect(world.pool.tasks).toEqual([]);
  });

  test.each(["during the wait", "during the fetch"])("stopped %s end the attempt at once", async (when) => {
    await using world = await started();
    world.control.always("blob", when === "during the fetch" ? silent : unreachable);
    const claims = await offered(world);
    await world.time.advance(500);
    world.runner.stop(claims.jti, 1, "lease_expired", 0);
    expect(await endOf(world, claims)).toEqual(["lease_lost", "lease_expired"]);
    expect(world.pool.tasks).toEqual([]);
  });

  test("a job stopped as its last input arrives reaches no worker", async () => {
    await using world = await started();
    world.control.next("blob", async (honest) => {
      const response = await honest();
      world.runner.stopAll("host_stopping", 1_000);
      return response;
    });
    const claims = await offered(world);
    expect(await endOf(world, claims)).toEqual(["cancelled", "host_stopping"]);
    expect(world.pool.tasks).toEqual([]);
  });
});
