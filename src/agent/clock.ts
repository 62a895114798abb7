/** The two clocks of a host. They answer different questions and never stand in for each other. */
export interface Clock {
  /** Wall clock, milliseconds since the Unix epoch: judges signatures' times, stamps records. May jump. */
  wallMs(): number;
  /** CLOCK_BOOTTIME in milliseconds (clock_gettime(2)): measures leases and intervals, counts suspended time. */
  bootMs(): number;
}

/** Source of `count` random bytes. */
export type Random = (count: number) => Uint8Array;

/** A timer that ends with its owner. */
export interface Timers {
  /** Calls `fn` once after `ms`; the returned function forgets it. */
  after(ms: number, fn: () => void): () => void;
}

/** Waits `ms`, or until `signal` aborts when that comes first. */
export function pause(timers: Timers, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      forget();
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const forget = timers.after(ms, end);
    signal?.addEventListener("abort", end);
  });
}

export const systemTimers: Timers = {
  after: (ms, fn) => {
    const timer = setTimeout(fn, ms);
    return () => clearTimeout(timer);
  },
};

export const systemRandom: Random = (count) => crypto.getRandomValues(new Uint8Array(count));
