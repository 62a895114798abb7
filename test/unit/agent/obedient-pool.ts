// A pool whose workers wait for the test to say how they end, and note what they were told.

import type { WorkerPool } from "../../../src/agent/pool.ts";
import type { ExecutorTask, JobReport } from "../../../src/protocol/execution.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";

export class ObedientTask {
  readonly task: ExecutorTask;
  /** Messages the agent sent, oldest first. */
  readonly heard: unknown[] = [];
  readonly end = Promise.withResolvers<unknown>();
  aborted = false;
  /** It has reported, died or been aborted. */
  done = false;

  constructor(task: ExecutorTask, abort: AbortSignal) {
    this.task = task;
    task.port.on("message", (message) => this.heard.push(message));
    const over = () => {
      this.done = true;
    };
    this.end.promise.then(over, over);
    abort.addEventListener("abort", () => {
      this.aborted = true;
      this.end.reject(new Error("The task has been aborted")); // piscina's words
    });
  }

  /** The worker enters a step. */
  step(step: string, at: number): void {
    this.task.port.postMessage({ type: "step", step, at });
  }

  /** The worker reports. */
  report(over: Partial<JobReport> = {}): void {
    this.end.resolve({ ...SUCCESS, ...over });
  }

  /** The worker reports something else. */
  reportRaw(value: unknown): void {
    this.end.resolve(value);
  }

  die(): void {
    this.end.reject(new Error("worker exited with code 1"));
  }
}

export class ObedientPool implements WorkerPool {
  readonly tasks: ObedientTask[] = [];
  readonly sizes: number[] = [];
  closed = false;

  async run(task: ExecutorTask, abort: AbortSignal): Promise<unknown> {
    const running = new ObedientTask(task, abort);
    this.tasks.push(running);
    return await running.end.promise;
  }

  resize(threads: number): void {
    this.sizes.push(threads);
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  /** The task started last. */
  get last(): ObedientTask {
    const task = this.tasks.at(-1);
    if (task === undefined) throw new Error("nothing was started");
    return task;
  }
}

export const SUCCESS: JobReport = {
  end: "succeeded",
  reason: "tests_passed",
  detail: null,
  stop_cause: null,
  result: null,
  usage: null,
  layers: ["bwrap"],
  survivors: 0,
  log: { sha256: sha256Of(""), size: 0 },
};
