// Goal: the executor works as piscina's worker: reports cross the thread, jobs run side by side, a stop crosses it the
// other way, and a thread that is ended takes its job's processes with it.
// Method: a real pool on workers/executor.ts with the settings the agent uses.

import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { MessageChannel } from "node:worker_threads";
import Piscina from "piscina";
import * as v from "valibot";
import { JobReportSchema } from "../../../src/protocol/execution.ts";
import { ROOT } from "../../support/source-files.ts";
import { processesWith, tempDir } from "../sandbox/sandbox-bench.ts";
import { type JobChange, taskOf } from "./job-bench.ts";

const pool = new Piscina({
  filename: join(ROOT, "workers/executor.ts"),
  minThreads: 0,
  maxThreads: 2,
  atomics: "disabled",
});
afterAll(() => pool.destroy());

type TransferList = NonNullable<NonNullable<Parameters<typeof pool.run>[1]>["transferList"]>;

function start(dir: string, change: JobChange, signal?: AbortSignal) {
  const { port1, port2 } = new MessageChannel();
  const transferList = [port2] as unknown as TransferList; // piscina's type comes from the DOM's overload
  const task = { ...taskOf(dir, change), port: port2 };
  const done = pool.run(task, signal ? { transferList, signal } : { transferList });
  return { port: port1, done: done.finally(() => port1.close()) };
}

const script = (text: string): JobChange => ({ payload: { run: ["sh", "-c", text] } });

describe("in a pool", () => {
  test("two jobs at once, each with its own report", async () => {
    using a = tempDir();
    using b = tempDir();
    const reports = await Promise.all([
      start(a.path, script("printf '1..1\\nok 1 - a\\n'")).done,
      start(b.path, script("exit 3")).done,
    ]);
    const [first, second] = reports.map((report) => v.parse(JobReportSchema, report));
    expect(first).toMatchObject({ end: "succeeded", reason: "tests_passed", survivors: 0 });
    expect(second).toMatchObject({ end: "failed", reason: "exit_nonzero", survivors: 0 });
  });

  test("a stop by message", async () => {
    using dir = tempDir();
    const job = start(dir.path, script("sleep 30"));
    await Bun.sleep(200);
    job.port.postMessage({ type: "stop", cause: "host_stopping", grace_ms: 2_000 });
    expect(v.parse(JobReportSchema, await job.done)).toMatchObject({
      end: "stopped",
      stop_cause: "host_stopping",
    });
  });

  test("a second stop shortens the grace, never the first cause", async () => {
    using dir = tempDir();
    const job = start(dir.path, script('trap "" TERM; while :; do sleep 0.05; done'));
    await Bun.sleep(200);
    job.port.postMessage({ type: "stop", cause: "order_cancel", grace_ms: 60_000 });
    job.port.postMessage({ type: "stop", cause: "host_stopping", grace_ms: 100 });
    expect(v.parse(JobReportSchema, await job.done)).toMatchObject({
      end: "stopped",
      stop_cause: "order_cancel",
    });
  });

  test("an aborted thread leaves no process", async () => {
    using dir = tempDir();
    const mark = `mark-${crypto.randomUUID()}`;
    const abort = new AbortController();
    const text = `(setsid sh -c 'trap "" TERM HUP; while :; do sleep 0.05; done # ${mark}' &); while :; do sleep 0.05; done # ${mark}`;
    const job = start(dir.path, script(text), abort.signal);
    for (let tries = 0; tries < 200 && processesWith(mark).length < 4; tries++) await Bun.sleep(10);
    expect(processesWith(mark).length).toBeGreaterThanOrEqual(4);
    abort.abort();
    await expect(job.done).rejects.toThrow();
    for (let tries = 0; tries < 100 && processesWith(mark).length > 0; tries++) await Bun.sleep(10);
    expect(processesWith(mark)).toEqual([]);
  });
});
