import type { JobId } from "../../protocol/ids.ts";

/** Someone who asked for a log is taken to be reading along for so long after. */
const READING_MS = 5_000;

/** Who waits for news of which job, in this process. */
export class JobWatch {
  private readonly waiting = new Map<JobId, Set<() => void>>();
  private readonly readMs = new Map<JobId, number>();

  /** Resolves at the next news of the job, after `waitMs`, or when `signal` ends the wait. */
  next(id: JobId, waitMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const waiters = this.waiting.get(id) ?? new Set();
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        waiters.delete(done);
        if (waiters.size === 0) this.waiting.delete(id);
        resolve();
      };
      const timer = setTimeout(done, waitMs);
      signal.addEventListener("abort", done);
      waiters.add(done);
      this.waiting.set(id, waiters);
      if (signal.aborted) done();
    });
  }

  /** There is news of the job. */
  tell(id: JobId): void {
    for (const done of [...(this.waiting.get(id) ?? [])]) done();
  }

  /** Ends every wait: the server stops. */
  tellAll(): void {
    for (const id of [...this.waiting.keys()]) this.tell(id);
  }

  /** Notes that someone reads the job's log. */
  noteReader(id: JobId, nowMs: number): void {
    this.readMs.set(id, nowMs);
  }

  /** Whether someone reads the job's log along. */
  isRead(id: JobId, nowMs: number): boolean {
    const lastMs = this.readMs.get(id);
    return this.waiting.has(id) || (lastMs !== undefined && nowMs - lastMs < READING_MS);
  }

  /** Forgets who has stopped reading. */
  sweep(nowMs: number): void {
    for (const [id, lastMs] of this.readMs) if (nowMs - lastMs >= READING_MS) this.readMs.delete(id);
  }
}
