// Worker threads of a simulated host: they do what jobs do, and all else that threads can do.

import { createHash } from "node:crypto";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import type { WorkerPool } from "../../src/agent/pool.ts";
import { type ExecutorTask, type JobReport, STOP_CAUSES } from "../../src/protocol/execution.ts";
import type { Sha256 } from "../../src/protocol/ids.ts";
import type { Behaviour } from "./behaviours.ts";
import type { Dice } from "./dice.ts";

/** One run of an attempt, from the call of the pool to its end. */
export interface Run {
  readonly jti: string;
  readonly attempt: number;
  readonly behaviour: Behaviour;
  live: boolean;
}

export interface PoolDeps {
  readonly isDead: () => boolean;
  readonly dice: Dice;
  readonly after: (ms: number, fn: () => void) => () => void;
  readonly wallMs: () => number;
  readonly onStart: (task: ExecutorTask, run: Run) => void;
  readonly onEnd: (run: Run, how: string) => void;
  /** Whether runs come to an end: soon, when the world does; never by themselves, when leases are what a story is about. */
  readonly pace: () => Pace;
}

export type Pace = "any" | "quick" | "endless";

const ANY: readonly (readonly [number, Behaviour])[] = [
  [5, "succeeds"],
  [2, "fails"],
  [2, "spins"],
  [3, "obeys"],
  [2, "ignores"],
  [3, "lies"],
  [1, "dies"],
  [3, "trickles"],
];

const PACES: Readonly<Record<Pace, readonly (readonly [number, Behaviour])[]>> = {
  any: ANY,
  quick: [[1, "succeeds"]],
  endless: [
    [2, "spins"],
    [2, "ignores"],
    [1, "obeys"],
  ],
};

interface PortLike {
  on(event: "message", listener: (message: unknown) => void): void;
  postMessage(message: unknown): void;
}

export class ScriptedPool implements WorkerPool {
  size: number;
  readonly runs: Run[] = [];
  private readonly deps: PoolDeps;

  constructor(size: number, deps: PoolDeps) {
    this.size = size;
    this.deps = deps;
  }

  run(task: ExecutorTask, abort: AbortSignal): Promise<unknown> {
    const { dice, onStart, isDead } = this.deps;
    if (isDead()) return new Promise<never>(() => undefined);
    const behaviour = dice.weighted(PACES[this.deps.pace()]);
    const run: Run = { jti: task.jti, attempt: task.attempt, behaviour, live: true };
    this.runs.push(run);
    onStart(task, run);
    return new Thread(task, abort, run, this.deps).result;
  }

  resize(threads: number): void {
    this.size = threads;
  }

  async close(): Promise<void> {}
}

/** One worker thread over one task. */
class Thread {
  readonly result: Promise<unknown>;
  private readonly task: ExecutorTask;
  private readonly run: Run;
  private readonly deps: PoolDeps;
  private readonly settle: { resolve: (value: unknown) => void; reject: (error: Error) => void };
  private readonly port: PortLike;

  constructor(task: ExecutorTask, abort: AbortSignal, run: Run, deps: PoolDeps) {
    this.task = task;
    this.run = run;
    this.deps = deps;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.result = promise;
    this.settle = { resolve, reject };
    this.port = task.port as unknown as PortLike;
    this.port.on("message", (message) => this.onMessage(message));
    // The thread is ended whatever it does; that it takes a while is the thread's only freedom.
    abort.addEventListener("abort", () => {
      deps.after(deps.dice.below(run.behaviour === "ignores" ? 2_000 : 50), () =>
        this.die("The task has been aborted"),
      );
    });
    this.begin();
  }

  private begin(): void {
    const { dice, after } = this.deps;
    this.port.postMessage({ type: "step", step: "run", at: this.deps.wallMs() });
    this.write(dice.below(400));
    const quick = dice.chance(0.8) ? dice.between(100, 15_000) : dice.between(15_000, 400_000);
    switch (this.run.behaviour) {
      case "succeeds":
        after(quick, () => this.report("succeeded", "tests_passed"));
        return;
      case "fails":
        after(quick, () => this.report("failed", "tests_failed"));
        return;
      case "dies":
        after(quick, () => this.die("worker exited with code 1"));
        return;
      case "lies":
        after(quick, () => this.lie());
        return;
      case "trickles":
        for (let i = 1; i <= 4; i++) after((quick * i) / 5, () => this.write(dice.below(90_000)));
        after(quick, () => this.report("succeeded", "tests_passed"));
        return;
      case "spins":
      case "ignores":
      case "obeys":
        return; // until its deadline, unless it is stopped before
    }
  }

  private onMessage(message: unknown): void {
    const { dice, after } = this.deps;
    const { type, cause, grace_ms } = message as { type?: string; cause?: string; grace_ms?: number };
    if (type !== "stop" || !this.run.live) return;
    if (this.run.behaviour === "spins" || this.run.behaviour === "ignores") return;
    const stop = STOP_CAUSES.find((known) => known === cause) ?? null;
    if (this.run.behaviour === "lies" && dice.chance(0.5))
      after(dice.below(1_000), () => this.report("succeeded", "tests_passed"));
    else {
      const wait = dice.below(Math.max(1, Math.min(grace_ms ?? 0, 5_000)));
      after(wait, () => this.report("stopped", "deadline", stop));
    }
  }

  /** Says what is not so, or nothing that can be read. */
  private lie(): void {
    const { dice } = this.deps;
    this.port.postMessage(dice.chance(0.5) ? { type: "step" } : "rubbish");
    const report = this.reportOf("succeeded", "tests_passed", null);
    this.finish(
      dice.pick<unknown>([
        "rubbish",
        null,
        { ...report, outcome: "succeeded" },
        { ...report, end: "stopped", stop_cause: null },
        { ...report, end: "stopped", stop_cause: "quarantined" },
        { ...report, detail: "x".repeat(5_000) },
        { ...report, log: { sha256: "0".repeat(64), size: 1_000_000 } },
        { ...report, survivors: -1 },
      ]),
      "lied",
    );
  }

  private report(
    end: JobReport["end"],
    reason: JobReport["reason"],
    stop: JobReport["stop_cause"] = null,
  ): void {
    this.finish(this.reportOf(end, reason, stop), end);
  }

  private reportOf(
    end: JobReport["end"],
    reason: JobReport["reason"],
    stop: JobReport["stop_cause"],
  ): JobReport {
    const log = existsSync(this.task.logPath) ? readFileSync(this.task.logPath) : Buffer.alloc(0);
    return {
      end,
      reason,
      detail: null,
      stop_cause: stop,
      result: null,
      usage: { cpu_ms: 5, max_rss_bytes: 1_000 },
      layers: ["bwrap"],
      survivors: 0,
      log: { sha256: createHash("sha256").update(log).digest("hex") as Sha256, size: log.length },
    };
  }

  private finish(value: unknown, how: string): void {
    if (!this.run.live) return;
    this.run.live = false;
    this.deps.onEnd(this.run, how);
    this.settle.resolve(value);
  }

  private die(why: string): void {
    if (!this.run.live) return;
    this.run.live = false;
    this.deps.onEnd(this.run, why);
    this.settle.reject(new Error(why));
  }

  private write(bytes: number): void {
    if (this.run.live)
      appendFileSync(this.task.logPath, `${this.run.behaviour} `.repeat(Math.ceil(bytes / 8)));
  }
}
