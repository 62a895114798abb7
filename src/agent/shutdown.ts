import type { Log } from "./agent-log.ts";
import type { Clock, Timers } from "./clock.ts";
import type { Runner } from "./runner.ts";
import type { End } from "./standing.ts";

export interface ShutdownDeps {
  readonly runner: Runner;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  /** Ends what was accepted and has not started. */
  readonly abandonWaiting: () => Promise<void>;
  readonly news: () => void;
}

/** How long a stopping agent tries to deliver its last receipts and logs. */
const LAST_WORDS_MS = 10_000;
/** The same for one that will not start again: what it does not deliver now is never delivered. */
const FAREWELL_MS = 600_000;
/** How long after their grace cancelled runs may take to be written down before the agent ends without them. */
const SETTLE_MS = 10_000;

/**
 * The end of a life: nothing new starts, running jobs get their grace and are then cancelled, and a bounded time is left
 * for last words. Two things begin it, a signal to the process and a terminal order.
 */
export class Shutdown {
  private readonly deps: ShutdownDeps;
  /** Aborted when the last words are over: ends whatever request is still under way. */
  private readonly over = new AbortController();
  private readonly forgets: (() => void)[] = [];
  private signalled = false;
  private ordered = false;
  private until: number | null = null;

  constructor(deps: ShutdownDeps) {
    this.deps = deps;
  }

  get draining(): boolean {
    return this.signalled;
  }

  get signal(): AbortSignal {
    return this.over.signal;
  }

  /** Boot-clock time at which the last words are over; null before they begin. */
  get untilBootMs(): number | null {
    return this.until;
  }

  /** First call: running jobs get `graceMs` to end. Second call: they are cancelled now. */
  drain(graceMs: number): void {
    const { runner, log } = this.deps;
    if (this.signalled) {
      log("warn", "agent.cancelling", { running: runner.running });
      this.cancelRuns("host_stopping", 2_000);
      return;
    }
    this.signalled = true;
    log("info", "agent.draining", { running: runner.running, grace_s: Math.round(graceMs / 1000) });
    this.forgets.push(this.deps.timers.after(graceMs, () => this.cancelRuns("host_stopping", 5_000)));
    this.whenIdle(LAST_WORDS_MS);
  }

  /** The terminal order's end. Asked for again it changes nothing. */
  end({ reason, grace_s }: End): void {
    const { runner, timers, log } = this.deps;
    if (this.ordered) return;
    this.ordered = true;
    log("error", "agent.ending", { reason, running: runner.running, grace_s });
    this.forgets.push(timers.after(grace_s * 1000, () => this.cancelRuns("order_terminal", 5_000)));
    this.whenIdle(FAREWELL_MS);
  }

  clear(): void {
    for (const forget of this.forgets) forget();
  }

  private whenIdle(wordsMs: number): void {
    const { abandonWaiting, runner } = this.deps;
    void Promise.all([abandonWaiting(), runner.idle()]).then(() => this.beginLastWords(wordsMs));
  }

  private cancelRuns(cause: "host_stopping" | "order_terminal", graceMs: number): void {
    const { runner, timers } = this.deps;
    const wordsMs = cause === "host_stopping" ? LAST_WORDS_MS : FAREWELL_MS;
    runner.stopAll(cause, graceMs);
    this.forgets.push(timers.after(graceMs + SETTLE_MS, () => this.beginLastWords(wordsMs)));
  }

  /** Whoever begins later can only shorten them. */
  private beginLastWords(ms: number): void {
    const { clock, timers, news } = this.deps;
    const until = clock.bootMs() + ms;
    if (this.until !== null && this.until <= until) return;
    this.until = until;
    this.forgets.push(timers.after(ms, () => this.over.abort()));
    news();
  }
}
