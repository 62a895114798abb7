import type { Clock, Timers } from "./clock.ts";
import type { LeaseChange } from "./intake.ts";

const LOOK_MS = 1_000;

/** Which attempts hold a lease, and until when on the boot clock. Tells each end once. */
export class LeaseBook {
  private readonly clock: Clock;
  private readonly timers: Timers;
  private readonly onEnd: (jti: string, attempt: number) => void;
  private readonly ends = new Map<string, { jti: string; attempt: number; untilBootMs: number }>();
  private forget: (() => void) | null = null;

  constructor(clock: Clock, timers: Timers, onEnd: (jti: string, attempt: number) => void) {
    this.clock = clock;
    this.timers = timers;
    this.onEnd = onEnd;
  }

  /** Takes a grant or renewal; a lease that was merely not renewed runs out at its old end. */
  note(change: LeaseChange): void {
    if (change.untilBootMs === null) return;
    const { jti, attempt, untilBootMs } = change;
    this.ends.set(`${jti}/${attempt}`, { jti, attempt, untilBootMs });
    this.look();
  }

  clear(): void {
    this.forget?.();
    this.forget = null;
    this.ends.clear();
  }

  /** A timer may be late after a suspend; the boot clock, not the timer, says what has ended. */
  private look(): void {
    this.forget ??= this.timers.after(LOOK_MS, () => {
      this.forget = null;
      const now = this.clock.bootMs();
      for (const [key, { jti, attempt, untilBootMs }] of this.ends) {
        if (untilBootMs > now) continue;
        this.ends.delete(key);
        this.onEnd(jti, attempt);
      }
      if (this.ends.size > 0) this.look();
    });
  }
}
