// The time of one simulated world, which every clock and timer in it follows.

import { isCrash } from "./crash.ts";

interface Due {
  readonly id: number;
  readonly atMs: number;
  readonly fn: () => void;
  cancelled: boolean;
}

/** Turns of the real event loop with nothing under way after which the world waits for its time. */
const CALM_TURNS = 2;
const EVENTS_MAX = 2_000_000;

/**
 * Milliseconds since the world began, and what is to happen when. Nothing passes by itself: events happen one after the
 * other, each once everything the one before set off has come to rest. What leaves the thread is given to `track`.
 */
export class Timeline {
  private now = 0;
  private ids = 0;
  private busy = 0;
  private events = 0;
  private heap: Due[] = [];
  /** Called before every event and after the last: what must always hold is looked at here. */
  onStep: () => void = () => undefined;

  get nowMs(): number {
    return this.now;
  }

  /** Events that are to come. */
  get pending(): number {
    return this.heap.filter(({ cancelled }) => !cancelled).length;
  }

  at(atMs: number, fn: () => void): () => void {
    const due: Due = { id: ++this.ids, atMs: Math.max(this.now, atMs), fn, cancelled: false };
    this.push(due);
    return () => {
      due.cancelled = true;
    };
  }

  after(ms: number, fn: () => void): () => void {
    return this.at(this.now + Math.max(0, Math.ceil(ms)), fn);
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, resolve);
    });
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

  /** Waits until nothing goes on that does not wait for this time. */
  async settle(): Promise<void> {
    for (let calm = 0; calm < CALM_TURNS; calm = this.busy === 0 ? calm + 1 : 0) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Lets `ms` pass. */
  async advance(ms: number): Promise<void> {
    const end = this.now + ms;
    await this.settle();
    for (;;) {
      this.onStep();
      const next = this.heap[0];
      if (next === undefined || next.atMs > end) break;
      this.pop();
      if (next.cancelled) continue;
      if (++this.events > EVENTS_MAX) throw new Error("events follow each other without end");
      this.now = next.atMs;
      happen(next.fn);
      await this.settle();
    }
    this.now = end;
  }

  /** Lets time pass until `promise` has settled. */
  async until<T>(promise: Promise<T>, withinMs: number): Promise<T> {
    let over = false;
    const done = () => {
      over = true;
    };
    promise.then(done, done);
    await this.settle();
    const end = this.now + withinMs;
    while (!over) {
      const next = this.heap[0];
      if (next === undefined || next.atMs > end) throw new Error(`not settled within ${withinMs} ms`);
      await this.advance(next.atMs - this.now);
    }
    return await promise;
  }

  private push(due: Due): void {
    const { heap } = this;
    heap.push(due);
    for (let i = heap.length - 1; i > 0; ) {
      const parent = (i - 1) >> 1;
      if (!before(heap[i], heap[parent])) break;
      swap(heap, i, parent);
      i = parent;
    }
  }

  private pop(): void {
    const { heap } = this;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    heap[0] = last;
    for (let i = 0; ; ) {
      const [left, right] = [2 * i + 1, 2 * i + 2];
      let first = i;
      if (before(heap[left], heap[first])) first = left;
      if (before(heap[right], heap[first])) first = right;
      if (first === i) return;
      swap(heap, i, first);
      i = first;
    }
  }
}

/** A process may die in the middle of what happens to it. */
function happen(fn: () => void): void {
  try {
    fn();
  } catch (error) {
    if (!isCrash(error)) throw error;
  }
}

const before = (a: Due | undefined, b: Due | undefined): boolean =>
  a !== undefined && b !== undefined && (a.atMs - b.atMs || a.id - b.id) < 0;

function swap(heap: Due[], i: number, j: number): void {
  const [a, b] = [heap[i], heap[j]];
  if (a === undefined || b === undefined) return;
  heap[i] = b;
  heap[j] = a;
}
