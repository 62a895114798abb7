// What goes wrong at the very moment something happens: rare by chance, and where the narrow places are.

import type { Host } from "./host.ts";
import type { World } from "./world.ts";

/** Hears what an agent's log says. */
export function onEvent(
  world: World,
  host: Host,
  event: string,
  fields: Readonly<Record<string, unknown>>,
): void {
  const { climate, dice, healed } = world;
  if (climate.leases && !healed) {
    if (event === "job.accepted" && dice.chance(0.3)) cutOff(world, host, "accepted a job");
    if (event === "job.started" && dice.chance(0.4)) cutOff(world, host, "started a job");
  }
  // Most recoveries come when all else is over, so this comes then as well; once, so that it does end.
  const recovers = event === "order.taken" && fields["type"] === "recover";
  if (recovers && !world.disturbed.has(host) && dice.chance(0.6)) cutAtRekey(world, host);
}

/** For longer than an offer or a lease lasts: what it holds is given to another. */
function cutOff(world: World, host: Host, why: string): void {
  if (host.wire === null) return;
  host.wire.cutUntilMs = world.timeline.nowMs + world.dice.between(200_000, 700_000);
  host.say(`is cut off just when it ${why}`);
  world.tally.note(`cut off when it ${why}`);
}

/** The answer with the new license is lost, or the process dies around it. */
function cutAtRekey(world: World, host: Host): void {
  const { dice } = world;
  world.disturbed.add(host);
  if (dice.chance(0.5) && host.wire)
    host.wire.nextTo = ["/v1/rekey", dice.pick(["reply lost", "reply delayed"])];
  if (dice.chance(0.7)) host.machine.arm(dice.between(1, 16), dice.chance(0.5) ? "before" : "after");
  host.say("is disturbed while it changes its keys");
  world.tally.note("disturbed at rekey");
}
