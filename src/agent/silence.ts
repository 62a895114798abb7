import type { Timers } from "./clock.ts";

/** Aborts its signal when nothing was heard of a stream for `ms`. `end` stops the counting. */
export class Silence {
  private readonly controller = new AbortController();
  private readonly timers: Timers;
  private readonly ms: number;
  private forget: () => void;

  constructor(timers: Timers, ms: number) {
    this.timers = timers;
    this.ms = ms;
    this.forget = this.count();
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Something was heard: the counting starts again. */
  broken(): void {
    this.forget();
    this.forget = this.count();
  }

  end(): void {
    this.forget();
  }

  private count(): () => void {
    return this.timers.after(this.ms, () => this.controller.abort());
  }
}
