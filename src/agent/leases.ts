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
    this.ends.set(keyOf(jti, attempt), { jti, attempt, untilBootMs });
    this.look();
  }

  /** Whether the attempt has a lease that has not run out. */
  holds(jti: string, attempt: number): boolean {
    const end = this.ends.get(keyOf(jti, attempt));
    return end !== undefined && end.untilBootMs > this.clock.bootMs();
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
      const over = [...this.ends.values()].filter(({ untilBootMs }) => untilBootMs <= now);
      for (const { jti, attempt } of over) this.ends.delete(keyOf(jti, attempt));
      if (this.ends.size > 0) this.look();
      for (const { jti, attempt } of over) this.onEnd(jti, attempt);
    });
  }
}

const keyOf = (jti: string, attempt: number) => `${jti}/${attempt}`;
