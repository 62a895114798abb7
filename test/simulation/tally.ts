// What happened in a simulated world, in words and in numbers.

import { createHash } from "node:crypto";

const KEPT_LINES = 400;

/** Every event of one world, hashed as it comes; the last ones are kept to be read. */
export class Trace {
  private readonly hash = createHash("sha256");
  private readonly kept: string[] = [];
  private count = 0;
  private readonly all: boolean;
  private readonly root: string;

  /** `root` is left out of what is told: where a world lies is no part of it. */
  constructor(all: boolean, root: string) {
    this.all = all;
    this.root = root;
  }

  line(atMs: number, who: string, what: string): void {
    const told = what.replaceAll(this.root, "");
    const text = `${(atMs / 1000).toFixed(3).padStart(10)}  ${who.padEnd(8)} ${told}`;
    this.hash.update(text);
    this.count += 1;
    this.kept.push(text);
    if (!this.all && this.kept.length > 2 * KEPT_LINES) this.kept.splice(0, KEPT_LINES);
  }

  get lines(): number {
    return this.count;
  }

  tail(count = this.kept.length): readonly string[] {
    return this.kept.slice(-count);
  }

  digest(): string {
    return this.hash.copy().digest("hex");
  }
}

/** How often each kind of thing happened. */
export class Tally {
  readonly counts: Record<string, number> = {};

  note(what: string, times = 1): void {
    this.counts[what] = (this.counts[what] ?? 0) + times;
  }

  add(other: Readonly<Record<string, number>>): void {
    for (const [what, times] of Object.entries(other)) this.note(what, times);
  }
}
