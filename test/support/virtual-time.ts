// A clock that stands still until a test moves it, so that hours of an agent's life take milliseconds and always the same.

import type { Clock, Timers } from "../../src/agent/clock.ts";

interface Due {
  readonly id: number;
  atMs: number;
  readonly fn: () => void;
}

/** Real turns of the event loop without anything under way after which the world counts as waiting for its clock. */
const CALM_TURNS = 4;
const TIMERS_MAX = 200_000;
/** When every test begins, seconds. */
export const START_S = Date.UTC(2026, 0, 15, 12, 0, 0) / 1000;

/**
 * Both clocks and all timers of one test. Signing and verifying leave the thread for a moment, so time moves only while
 * no operation of WebCrypto and nothing given to `track` is under way.
 */
export class VirtualTime implements Clock, Timers, Disposable {
  private wall = START_S * 1000;
  private boot = 1_000_000;
  private busy = 0;
  private ids = 0;
  private due: Due[] = [];
  private readonly restore: () => void;

  constructor() {
    this.restore = watchCrypto((promise) => this.track(promise));
  }

  wallMs(): number {
    return this.wall;
  }

  bootMs(): number {
    return this.boot;
  }

  /** Seconds since the Unix epoch. */
  nowS(): number {
    return Math.floor(this.wall / 1000);
  }

  /** Timers that have not fired. */
  get pending(): number {
    return this.due.length;
  }

  after(ms: number, fn: () => void): () => void {
    const entry: Due = { id: ++this.ids, atMs: this.boot + Math.max(0, ms), fn };
    this.due.push(entry);
    return () => {
      this.due = this.due.filter(({ id }) => id !== entry.id);
    };
  }

  /** Resolves after `ms` of this time. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, resolve);
    });
  }

  /** Moves the wall clock alone, as an administrator would. */
  setWall(wallMs: number): void {
    this.wall = wallMs;
  }

  /** The host sleeps: both clocks go on, timers do not. */
  async suspend(ms: number): Promise<void> {
    await this.settle();
    this.boot += ms;
    this.wall += ms;
    for (const entry of this.due) entry.atMs += ms;
    await this.settle();
  }

  /** Lets `ms` pass, firing what becomes due on the way, each once all before it has come to rest. */
  async advance(ms: number): Promise<void> {
    await this.settle();
    const end = this.boot + ms;
    for (let fired = 0; ; fired++) {
      if (fired > TIMERS_MAX) throw new Error("timers fire without end");
      const next = this.due.filter(({ atMs }) => atMs <= end).sort(earlier)[0];
      if (next === undefined) break;
      this.due = this.due.filter(({ id }) => id !== next.id);
      this.goTo(Math.max(this.boot, next.atMs));
      next.fn();
      await this.settle();
    }
    this.goTo(end);
  }

  /** Lets time pass until `condition` holds; an error after `ms` of it. */
  async advanceUntil(condition: () => boolean, ms: number): Promise<void> {
    const end = this.boot + ms;
    await this.settle();
    while (!condition()) {
      const next = [...this.due].sort(earlier)[0];
      if (next === undefined || next.atMs > end) throw new Error(`not within ${ms} ms: ${condition}`);
      await this.advance(Math.max(0, next.atMs - this.boot));
    }
  }

  /** Waits in real time, while this one stands still, for what leaves the thread unseen (files, worker ports). */
  async until(condition: () => boolean): Promise<void> {
    const giveUp = performance.now() + 5_000;
    while (!condition()) {
      if (performance.now() > giveUp) throw new Error(`never: ${condition}`);
      await Bun.sleep(1);
    }
    await this.settle();
  }

  /** Holds time still until `promise` has settled. */
  track<T>(promise: Promise<T>): Promise<T> {
    this.busy += 1;
    const done = () => {
      this.busy -= 1;
    };
    promise.then(done, done);
    return promise;
  }

  /** Waits until nothing goes on that does not wait for this clock. */
  async settle(): Promise<void> {
    for (let calm = 0; calm < CALM_TURNS; calm = this.busy === 0 ? calm + 1 : 0) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  [Symbol.dispose](): void {
    this.restore();
  }

  private goTo(bootMs: number): void {
    this.wall += bootMs - this.boot;
    this.boot = bootMs;
  }
}

const earlier = (a: Due, b: Due) => a.atMs - b.atMs || a.id - b.id;

const CRYPTO = ["sign", "verify", "digest", "generateKey", "importKey", "exportKey", "deriveBits"] as const;
const SEALING = ["encrypt", "decrypt", "deriveKey", "wrapKey", "unwrapKey"] as const;

/** Lets `track` see every operation of WebCrypto; the returned function ends that. */
function watchCrypto(track: (promise: Promise<unknown>) => unknown): () => void {
  const prototype = SubtleCrypto.prototype as unknown as Record<string, (...args: unknown[]) => unknown>;
  const names: readonly string[] = [...CRYPTO, ...SEALING];
  const originals = names.map((name) => [name, prototype[name]] as const);
  for (const [name, original] of originals) {
    if (original === undefined) continue;
    prototype[name] = function (this: unknown, ...args: unknown[]) {
      const result = original.apply(this, args);
      if (result instanceof Promise) track(result);
      return result;
    };
  }
  return () => {
    for (const [name, original] of originals) if (original !== undefined) prototype[name] = original;
  };
}
