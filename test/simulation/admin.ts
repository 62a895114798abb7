// The person who runs the fleet: gives orders, and looks after what the Control Plane has noticed.

import { type AnomalyKind, API, QUARANTINING } from "../../src/protocol/api.ts";
import type { Host } from "./host.ts";
import type { World } from "./world.ts";

interface OpenAnomaly {
  readonly id: string;
  readonly agent_id: string;
  readonly kind: AnomalyKind;
  readonly what: string;
}

const PATIENCE_MS = 5_000;

/** One request of the admin; null when nobody answers, or not in time. */
export async function ask(world: World, method: string, path: string, body?: unknown) {
  const { control, timeline } = world;
  if (!control.up) return null;
  const asked = control.api(method, path, body);
  return await timeline.until(
    Promise.race([asked, timeline.sleep(PATIENCE_MS).then(() => null)]),
    2 * PATIENCE_MS,
  );
}

export type OrderName = "drain" | "stop" | "resume" | "quarantine" | "terminate";

/** Gives an order; answers whether the Control Plane has it for certain. */
export async function order(world: World, host: Host, name: OrderName): Promise<boolean> {
  const grace = name === "stop" || name === "terminate" ? { grace_s: world.dice.below(60) } : {};
  const path = API.agentOrders(world.idOf(host));
  const reply = await ask(world, "POST", path, { order: name, reason: "the story says so", ...grace });
  world.trace.line(
    world.timeline.nowMs,
    "admin",
    `orders ${host.name} to ${name}: ${reply?.status ?? "no answer"}`,
  );
  if (reply?.status === 200) world.tally.note(`order ${name}`);
  return reply?.status === 200;
}

/**
 * Does what is needed for everyone to work again: picks the right process of whoever is quarantined, closes alarms that
 * have their cause, lifts what was ordered.
 */
export async function attend(world: World): Promise<void> {
  const reply = await ask(world, "GET", `${API.anomalies}?limit=200`);
  if (reply === null || reply.status !== 200) return;
  for (const anomaly of (reply.json as { anomalies: OpenAnomaly[] }).anomalies) {
    const host = world.hosts.find((one) => !one.copy && world.idOf(one) === anomaly.agent_id);
    if (!host || host.terminated) continue;
    if (!QUARANTINING.includes(anomaly.kind)) {
      await ask(world, "POST", API.anomalyAct(anomaly.id, "resolve"), { reason: "seen" });
      continue;
    }
    const inst = host.agent?.inst;
    if (inst === undefined) continue;
    const body = { inst, rebind: false, reason: "this one goes on" };
    const done = await ask(world, "POST", API.anomalyAct(anomaly.id, "recover"), body);
    if (done?.status === 200) world.tally.note("recovery ordered");
    world.trace.line(
      world.timeline.nowMs,
      "admin",
      `recovers ${host.name} (${anomaly.kind}): ${done?.status}`,
    );
  }
}

/** Gives up jobs whose holder was a copy, or has come back without its memory: nobody is left to tell how they ended. */
export async function giveUpOverdue(world: World): Promise<void> {
  if (!world.book.twoHolders) return;
  for (const { id } of world.control.rows<{ id: string }>("SELECT id FROM jobs WHERE state = 'overdue'")) {
    const reply = await ask(world, "POST", API.jobCancel(id), { reason: "its holder is gone" });
    world.trace.line(world.timeline.nowMs, "admin", `gives up ${id}: ${reply?.status ?? "no answer"}`);
  }
}

/** Lifts drains and stops. */
export async function resumeAll(world: World): Promise<void> {
  for (const host of world.hosts) {
    if (host.copy || host.terminated || !host.held) continue;
    if (await order(world, host, "resume")) host.held = false;
  }
}
