// What a run tells a person, and a test.

import type { SeedResult } from "./run-seed.ts";

/** What a run over many seeds says at its end, as one JSON line with `--json`. */
export interface Summary {
  readonly seeds: number;
  /** What went wrong where, each as a text that says how to see it again. */
  readonly failed: readonly string[];
  /** How often each kind of thing happened. */
  readonly counts: Readonly<Record<string, number>>;
  readonly virtualHours: number;
  /** Of each world's trace, in the order of the seeds. */
  readonly digests: readonly string[];
}

const TAIL_LINES = 60;

/** The last lines of a failed world, what was wrong, and the command that shows it all. */
export function failureText({ seed, violations, tail }: SeedResult): string {
  return [
    ...tail.slice(-TAIL_LINES),
    "",
    `seed ${seed}:`,
    ...violations.map((violation) => `  ${violation}`),
    "",
    `  npm run simulate -- --seed ${seed} --trace`,
    "",
  ].join("\n");
}

export function summaryText({ seeds, failed, counts, virtualHours, digests }: Summary): string {
  const lines = Object.entries(counts)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([what, times]) => `${String(times).padStart(8)}  ${what}`);
  const digest = new Bun.CryptoHasher("sha256").update(digests.join()).digest("hex").slice(0, 16);
  return [
    ...lines,
    `${seeds} seeds, ${virtualHours} virtual hours, ${failed.length} failed, trace ${digest}`,
  ].join("\n");
}
