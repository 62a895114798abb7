// Timers of one host, which stand still while it sleeps.

import type { Timeline } from "./timeline.ts";

interface Entry {
  readonly fn: () => void;
  dueMs: number;
  cancel: () => void;
}

/** What `setTimeout` is on a host: time asleep does not count (CLOCK_MONOTONIC), and nothing happens meanwhile. */
export class HostTimers {
  private readonly timeline: Timeline;
  private readonly entries = new Set<Entry>();
  private asleepSinceMs: number | null = null;
  /** What arrived while it slept. */
  private arrived: (() => void)[] = [];

  constructor(timeline: Timeline) {
    this.timeline = timeline;
  }

  get asleep(): boolean {
    return this.asleepSinceMs !== null;
  }

  get pending(): number {
    return this.entries.size;
  }

  after(ms: number, fn: () => void): () => void {
    const entry: Entry = { fn, dueMs: this.timeline.nowMs + ms, cancel: () => undefined };
    this.entries.add(entry);
    if (!this.asleep) this.set(entry);
    return () => {
      entry.cancel();
      this.entries.delete(entry);
    };
  }

  /** Happens now, or when the host wakes. */
  deliver(fn: () => void): void {
    if (this.asleep) this.arrived.push(fn);
    else fn();
  }

  sleep(): void {
    if (this.asleep) return;
    this.asleepSinceMs = this.timeline.nowMs;
    for (const entry of this.entries) entry.cancel();
  }

  wake(): void {
    if (this.asleepSinceMs === null) return;
    const sleptMs = this.timeline.nowMs - this.asleepSinceMs;
    this.asleepSinceMs = null;
    for (const entry of this.entries) {
      entry.dueMs += sleptMs;
      this.set(entry);
    }
    const { arrived } = this;
    this.arrived = [];
    for (const fn of arrived) this.timeline.after(0, fn);
  }

  /** Every process of the host is gone. */
  clear(): void {
    for (const entry of this.entries) entry.cancel();
    this.entries.clear();
    this.arrived = [];
  }

  private set(entry: Entry): void {
    entry.cancel = this.timeline.at(entry.dueMs, () => {
      this.entries.delete(entry);
      entry.fn();
    });
  }
}
