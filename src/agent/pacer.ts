import { backoffMs, intervalMs, NewsBudget } from "./beat.ts";
import type { Clock, Random, Timers } from "./clock.ts";

/** A host that slept finds its beat overdue within this time: timers do not count sleep, the boot clock does. */
const LOOK_MS = 10_000;

/**
 * Says when the next heartbeat is due: after a failure by full-jitter backoff (never sooner than the server asked),
 * else at once for news within its budget, else by the interval ± 10 %.
 */
export class Pacer {
  private readonly clock: Clock;
  private readonly timers: Timers;
  private readonly random: Random;
  private readonly budget: NewsBudget;
  private failures = 0;
  private waitAtLeastMs = 0;
  private newsWanted = true;
  private dueBootMs: number | null = null;
  private interrupt: (() => void) | null = null;

  constructor(clock: Clock, timers: Timers, random: Random) {
    this.clock = clock;
    this.timers = timers;
    this.random = random;
    this.budget = new NewsBudget(clock.bootMs());
  }

  /** A beat should go out soon. During a backoff the backoff stands. */
  news(): void {
    this.newsWanted = true;
    this.interrupt?.();
  }

  get wantsNews(): boolean {
    return this.newsWanted;
  }

  /** True after a beat that failed, until one succeeds. */
  get failing(): boolean {
    return this.failures > 0;
  }

  /** A beat is being made now: news so far is in it. */
  made(): void {
    this.newsWanted = false;
  }

  /** A beat goes out now, for the first time or once more; news that came after its making still waits. */
  sending(): void {
    this.dueBootMs = null;
  }

  succeeded(): void {
    this.failures = 0;
  }

  /** Returns how many beats in a row have failed now. */
  failed(waitAtLeastMs: number): number {
    this.failures += 1;
    this.waitAtLeastMs = waitAtLeastMs;
    return this.failures;
  }

  /**
   * Waits for the next beat to be due, for `endBootMs` when that comes first, or for news, whichever is soonest. Returns
   * whether a beat is due now; if not, the caller looks at the world and asks again.
   */
  async due(intervalS: number, endBootMs: number | null): Promise<boolean> {
    const now = this.clock.bootMs();
    const wait = Math.min(this.waitMs(now, intervalS), (endBootMs ?? Number.POSITIVE_INFINITY) - now);
    if (wait <= 0) return true;
    await new Promise<void>((resolve) => {
      const forget = this.timers.after(Math.min(wait, LOOK_MS), resolve);
      this.interrupt = () => {
        forget();
        resolve();
      };
    });
    this.interrupt = null;
    return false;
  }

  private waitMs(now: number, intervalS: number): number {
    if (this.failures === 0 && this.newsWanted) return this.budget.take(now);
    this.dueBootMs ??= now + this.plannedMs(intervalS);
    return Math.max(0, this.dueBootMs - now);
  }

  private plannedMs(intervalS: number): number {
    const [a = 0, b = 0] = this.random(2);
    const random01 = (a * 256 + b) / 65_536;
    if (this.failures > 0) return backoffMs(this.failures, random01, this.waitAtLeastMs);
    return intervalMs(intervalS, random01);
  }
}
