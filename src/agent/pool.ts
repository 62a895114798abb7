import type { MessagePort } from "node:worker_threads";
import type { Piscina } from "piscina";
import type { ExecutorTask } from "../protocol/execution.ts";

/** Runs tasks on worker threads. A report is opened by the caller; `abort` ends the thread whatever it does. */
export interface WorkerPool {
  run(task: ExecutorTask, abort: AbortSignal): Promise<unknown>;
  /** Threads for new tasks; running ones stay where they are. */
  resize(threads: number): void;
  /** Ends idle threads and forgets the pool; running tasks must have settled. */
  close(): Promise<void>;
}

const IDLE_THREAD_MS = 5_000;

/** Where a worker's module lies: beside src/ in a checkout, inside the binary when compiled (both built from one root). */
export const workerFile = (name: string): string =>
  Bun.isStandaloneExecutable
    ? `/$bunfs/root/workers/${name}.js`
    : Bun.fileURLToPath(new URL(`../../workers/${name}.ts`, import.meta.url));

/**
 * The piscina pool, loaded with the first job so that an idle agent does not carry it. piscina's size is fixed once
 * made: a changed cap makes a second pool for new tasks and destroys the first when its last task has settled.
 */
export class PiscinaPool implements WorkerPool {
  private threads: number;
  private current: { pool: Piscina; running: number; retired: boolean } | null = null;
  private readonly onError: (error: unknown) => void;

  constructor(threads: number, onError: (error: unknown) => void) {
    this.threads = threads;
    this.onError = onError;
  }

  async run(task: ExecutorTask, abort: AbortSignal): Promise<unknown> {
    const slot = this.current ?? (await this.open());
    slot.running += 1;
    try {
      return await slot.pool.run(task, { signal: abort, transferList: transfer(task.port) });
    } finally {
      slot.running -= 1;
      if (slot.retired && slot.running === 0) await slot.pool.destroy();
    }
  }

  resize(threads: number): void {
    if (threads === this.threads) return;
    this.threads = threads;
    const old = this.current;
    this.current = null;
    if (old) old.retired = true;
    if (old?.running === 0) void old.pool.destroy();
  }

  async close(): Promise<void> {
    const old = this.current;
    this.current = null;
    await old?.pool.destroy();
  }

  private async open() {
    const { Piscina: Pool } = await import("piscina");
    if (this.current) return this.current;
    const pool = new Pool({
      filename: workerFile("executor"),
      minThreads: 0,
      maxThreads: this.threads,
      idleTimeout: IDLE_THREAD_MS,
      atomics: "disabled", // a worker holds handles (pipes, a port) and must keep turning its own loop
    });
    // Without a listener a worker that cannot load ends the process in silence.
    pool.on("error", this.onError);
    this.current = { pool, running: 0, retired: false };
    return this.current;
  }
}

type TransferList = NonNullable<NonNullable<Parameters<Piscina["run"]>[1]>["transferList"]>;

/** piscina derives this type from the DOM's postMessage overload, which lists no arrays; at run time it is one. */
const transfer = (port: MessagePort): TransferList => [port] as unknown as TransferList;
