// One seed from its beginning to its verdict.

import { join } from "node:path";
import { tell } from "./story.ts";
import { Violation, World } from "./world.ts";

export interface SeedResult {
  readonly seed: number;
  readonly violations: readonly string[];
  readonly digest: string;
  readonly lines: number;
  readonly virtualMs: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly tail: readonly string[];
}

export async function runSeed(
  seed: number,
  where: { readonly template: string; readonly root: string },
  trace = false,
): Promise<SeedResult> {
  const world = new World(seed, { ...where, root: join(where.root, `seed-${seed}`) }, trace);
  try {
    await tell(world);
    await world.heal();
    await world.judge();
  } catch (error) {
    if (!(error instanceof Violation)) {
      world.violate(
        `the simulation broke: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      );
    }
  }
  for (const machine of [world.control.machine, ...world.hosts.map((host) => host.machine)]) {
    const who = machine.name === "control" ? "control" : "agent";
    for (const where of machine.crashes) {
      world.tally.note(`${who} crashed`);
      if (/^(?:before|after) /.test(where)) world.tally.note(`crash: ${who} ${where}`);
    }
    world.tally.note(`${who} durable writes`, machine.writes);
  }
  const result: SeedResult = {
    seed,
    violations: [...world.violations],
    digest: world.trace.digest(),
    lines: world.trace.lines,
    virtualMs: world.timeline.nowMs,
    counts: world.tally.counts,
    tail: world.trace.tail(trace ? undefined : 120),
  };
  world.end();
  return result;
}
