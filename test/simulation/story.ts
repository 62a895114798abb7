// What happens in a world, step by step, as its seed says.

import { renameSync, rmSync } from "node:fs";
import { type AnomalyKind, API } from "../../src/protocol/api.ts";
import type { Scope } from "../../src/protocol/scope.ts";
import { ask, attend, order } from "./admin.ts";
import type { Host } from "./host.ts";
import { mayRun } from "./host-kind.ts";
import type { WireFault } from "./network-faults.ts";
import { copyState } from "./template.ts";
import type { World } from "./world.ts";

type Step = (world: World) => void | Promise<void>;

export async function tell(world: World): Promise<void> {
  const { climate, dice, timeline } = world;
  await world.begin();
  for (const host of world.hosts) if (host.wire) host.wire.badness = climate.badness;
  await submit(world);
  if (climate.leases) await tellOfLeases(world);
  if (climate.eras) await backUpOrRestore(world);
  for (let i = 0; i < climate.steps; i++) {
    await stepOf(world)(world);
    await timeline.advance(dice.chance(0.1) ? dice.between(60_000, 400_000) : dice.between(200, 12_000));
    if (dice.chance(0.7)) await world.keepUp();
  }
  if (world.backup !== null) await backUpOrRestore(world);
}

/** Jobs without end, on hosts that are cut off as soon as they have them, for longer than a lease lasts. */
async function tellOfLeases(world: World): Promise<void> {
  await submit(world);
  for (let i = 0; i < 12; i++) {
    await world.timeline.advance(world.dice.between(20_000, 100_000));
    await world.keepUp();
    if (world.dice.chance(0.2)) await submit(world);
  }
}

function stepOf(world: World): Step {
  const { climate, dice } = world;
  const { crashes, clockJumps, fullDisks, orders, copies, eras } = climate;
  return dice.weighted<Step>([
    [20, submit],
    [Math.round(100 * crashes), armAgent],
    [Math.round(60 * crashes), armControl],
    [Math.round(20 * crashes), killAgent],
    [Math.round(20 * crashes), reboot],
    [Math.round(20 * crashes), restartControl],
    [climate.badness > 0 ? 8 : 0, cut],
    [6, sleep],
    [clockJumps ? 8 : 0, jump],
    [fullDisks ? 10 : 0, fill],
    [8, changePlan],
    [6, news],
    [crashes > 0 ? 8 : 0, dieSpeaking],
    [orders ? 8 : 0, hold],
    [orders ? 6 : 0, resume],
    [orders ? 8 : 0, cancel],
    [orders ? 4 : 0, quarantine],
    [orders ? 4 : 0, attend],
    [orders ? 2 : 0, terminate],
    [copies === "clone" ? 20 : 0, clone],
    [copies === "rollback" ? 20 : 0, rollback],
    [eras ? 30 : 0, backUpOrRestore],
  ]);
}

const anyHost = ({ hosts, dice }: World): Host => {
  const host = hosts[dice.below(hosts.length)];
  if (host === undefined) throw new Error("a world without hosts");
  return host;
};

/** One that the Control Plane knows by its name. */
const anyOriginal = ({ hosts, dice }: World): Host => {
  const known = hosts.filter(({ copy }) => !copy);
  const host = known[dice.below(known.length)];
  if (host === undefined) throw new Error("a world without hosts");
  return host;
};

/** Queues a job, and asks again with the same key for as long as it takes to hear of it. */
async function submit(world: World): Promise<void> {
  const { dice, control, timeline, tally } = world;
  const key = `key-${world.seed}-${world.keys++}`;
  const onLost = dice.chance(world.climate.leases ? 0.8 : 0.5) ? "requeue" : "fail";
  const beyond = dice.chance(0.1);
  const scope: Scope = {
    files: { read: beyond ? ["/srv/secret"] : [], write: ["./"] },
    commands: "system",
    hosts: [],
    env: [],
  };
  const job = {
    kind: "test.run",
    payload: { source: { type: "empty" }, run: ["true"] },
    scope,
    limits: { timeout_s: timeoutOf(world) },
    on_lost: onLost,
    priority: dice.below(3),
    idempotency_key: key,
  };
  for (;;) {
    const reply = control.up
      ? await timeline.until(
          Promise.race([control.api("POST", API.jobs, job), timeline.sleep(5_000).then(() => null)]),
          10_000,
        )
      : null;
    if (reply !== null && (reply.status === 200 || reply.status === 201)) {
      const { id } = reply.json as { id: string };
      world.submitted.set(id, { key, onLost, fits: (host) => mayRun(host.options.kind, scope) });
      tally.note("job submitted");
      world.trace.line(
        timeline.nowMs,
        "world",
        `submits ${id}, on_lost ${onLost}${beyond ? ", beyond the policy" : ""}`,
      );
      return;
    }
    await timeline.advance(1_000);
    await world.keepUp();
  }
}

function timeoutOf({ climate, dice }: World): number {
  if (climate.leases) return dice.between(900, 2_000);
  return dice.chance(0.7) ? dice.between(10, 90) : dice.between(90, 600);
}

function armAgent(world: World): void {
  const host = anyHost(world);
  host.machine.arm(world.dice.between(1, 12), world.dice.chance(0.5) ? "before" : "after");
}

function armControl({ control, dice }: World): void {
  control.machine.arm(dice.between(1, 20), dice.chance(0.5) ? "before" : "after");
}

function killAgent(world: World): void {
  const host = anyHost(world);
  host.kill();
  world.tally.note("agent killed");
}

function reboot(world: World): void {
  const host = anyHost(world);
  host.kill("with its host");
  host.timers.wake();
  host.bootedAtMs = world.timeline.nowMs;
  host.boots += 1;
  world.tally.note("host rebooted");
}

async function restartControl(world: World): Promise<void> {
  const { control, dice, timeline, tally } = world;
  if (!control.up) return;
  tally.note("control restarted");
  await timeline.until(control.stop(), 60_000);
  if (dice.chance(0.5)) await timeline.advance(dice.between(0, 120_000));
  await timeline.until(control.boot(), 60_000);
}

function cut(world: World): void {
  const host = anyHost(world);
  if (host.wire) host.wire.cutUntilMs = world.timeline.nowMs + world.dice.between(5_000, 900_000);
  world.tally.note("network cut");
  host.say("is cut off");
}

/** The host is suspended, short enough for leases to be worth something, or for longer. */
function sleep(world: World): void {
  const { climate, dice, timeline } = world;
  const host = anyHost(world);
  if (host.timers.asleep) return;
  const ms = climate.longSleeps ? dice.between(1_000, 1_800_000) : dice.between(1_000, SHORT_SLEEP_MS);
  host.sleptMs = Math.max(host.sleptMs, ms);
  // The time of an answer that was asked for before the sleep and read after it says nothing of the clock.
  world.causes.add("clock_skew");
  host.timers.sleep();
  host.say(`sleeps for ${ms} ms`);
  world.tally.note("host suspended");
  timeline.after(ms, () => {
    host.timers.wake();
    host.say("wakes");
  });
}

const SHORT_SLEEP_MS = 40_000;

function jump(world: World): void {
  const { dice } = world;
  const host = anyHost(world);
  const ms = dice.chance(0.5) ? dice.between(-3_600_000, 3_600_000) : dice.between(-50_000, 50_000);
  world.causes.add("clock_skew");
  host.wallOffsetMs = dice.chance(0.5) ? 0 : ms;
  host.say(`has its clock ${host.wallOffsetMs} ms off`);
  world.tally.note("wall clock jumped");
}

function fill(world: World): void {
  const { dice, control, timeline } = world;
  const machine = dice.chance(0.7) ? anyHost(world).machine : control.machine;
  machine.fullUntilMs = timeline.nowMs + dice.between(5_000, 120_000);
  world.tally.note("disk filled");
  world.trace.line(timeline.nowMs, machine.name, "disk is full");
}

async function changePlan({ control, dice, timeline, tally, hosts }: World): Promise<void> {
  if (!control.up) return;
  tally.note("plan changed");
  const change = {
    max_concurrent_tasks_per_agent: dice.between(1, 4),
    max_agents: dice.chance(0.3) ? dice.between(1, Math.max(1, hosts.length)) : 10,
  };
  const asked = control.api("PUT", API.accountPlan, change);
  await timeline.until(Promise.race([asked, timeline.sleep(5_000)]), 10_000);
}

/** As SIGUSR2 or a wake would. */
function news(world: World): void {
  const host = anyHost(world);
  if (host.alive && !host.timers.asleep) host.agent?.news();
}

/** A beat is on its way, in whatever state, when its process ends; another begins at once. */
async function dieSpeaking(world: World): Promise<void> {
  const { dice, timeline } = world;
  const host = anyHost(world);
  if (!host.alive || host.timers.asleep || !host.wire) return;
  host.wire.next = dice.pick<WireFault>([
    "request delayed",
    "reply lost",
    "reply delayed",
    "request sent twice",
    "request lost",
  ]);
  host.agent?.news();
  await timeline.advance(dice.between(1, 60));
  host.wire.next = null;
  host.kill("while a beat of it was under way");
  world.tally.note("agent died speaking");
  if (dice.chance(0.8)) await timeline.until(host.boot(), 60_000);
}

async function hold(world: World): Promise<void> {
  const host = anyOriginal(world);
  host.held = true;
  await order(world, host, world.dice.chance(0.5) ? "drain" : "stop");
}

async function resume(world: World): Promise<void> {
  await order(world, anyOriginal(world), "resume");
}

async function quarantine(world: World): Promise<void> {
  world.causes.add("operator_quarantine");
  const host = anyOriginal(world);
  host.suspected = true;
  await order(world, host, "quarantine");
}

/** Never the last one: somebody must be left to do the work. One that is suspected is not heard any more, so it is spared. */
async function terminate(world: World): Promise<void> {
  const left = world.hosts.filter(({ copy, terminated }) => !copy && !terminated);
  const host = anyOriginal(world);
  if (left.length < 2 || host.terminated || host.copy || host.suspected) return;
  if (await order(world, host, "terminate")) host.terminated = true;
}

async function cancel(world: World): Promise<void> {
  const ids = [...world.submitted.keys()];
  const id = ids[world.dice.below(ids.length)];
  if (id === undefined) return;
  const reply = await ask(world, "POST", API.jobCancel(id), { reason: "the story says so" });
  world.trace.line(world.timeline.nowMs, "admin", `cancels ${id}: ${reply?.status ?? "no answer"}`);
  if (reply?.status === 200) world.tally.note("job cancelled");
}

const COPY_KINDS: readonly AnomalyKind[] = [
  "clone",
  "stale_nonce",
  "seal_rollback",
  "fingerprint_mismatch",
  "self_quarantined",
  "fingerprint_drift",
  "receipt_unusable",
];

/** Somebody copies a host's disk and starts the copy, on the same machine type or on quite another one. */
async function clone(world: World): Promise<void> {
  const { dice, timeline, hosts } = world;
  const original = hosts.find(({ copy, terminated }) => !copy && !terminated);
  if (!original || world.copied.length > 0) return;
  for (const kind of COPY_KINDS) world.causes.add(kind);
  const twin = world.addCopy(original);
  if (dice.chance(0.5)) twin.identity = original.identity;
  world.tally.note("state directory cloned");
  twin.say(`begins as a copy of ${original.name}`);
  await timeline.until(twin.boot(), 60_000);
}

/** A host comes back with the disk of some time ago. */
async function rollback(world: World): Promise<void> {
  const { timeline, hosts, dice } = world;
  const host = hosts.find(({ copy, terminated }) => !copy && !terminated);
  if (!host || world.copied.length > 0) return;
  for (const kind of COPY_KINDS) world.causes.add(kind);
  const kept = `${host.machine.dir}.kept`;
  copyState(host.machine.dir, kept);
  const beats = () =>
    world.control.rows<{ n: number }>(
      "SELECT json_extract(chain, '$.n') AS n FROM beats WHERE agent_id = ?",
      world.idOf(host),
    )[0]?.n ?? 0;
  const before = beats();
  await timeline.advance(dice.between(60_000, 200_000));
  host.kill("for its disk to be put back");
  await timeline.settle();
  host.end();
  rmSync(host.machine.dir, { recursive: true });
  renameSync(kept, host.machine.dir);
  world.tally.note("state directory rolled back");
  host.say("comes back as it was some time ago");
  // Who was not heard meanwhile, or only once, comes back as nobody can tell from a lost answer.
  if (beats() - before >= 2) world.copied.push({ host, sinceMs: world.control.wallMs() });
  await timeline.until(host.boot(), 60_000);
}

const RESTORE_MS = 65_000;

/** A backup is made; later the Control Plane is brought back to what it was then. */
async function backUpOrRestore(world: World): Promise<void> {
  const { control, timeline, tally, dice } = world;
  const { backup } = world;
  if (backup === null) {
    const path = `${control.machine.dir}.backup`;
    if (await timeline.until(control.backUp(path), 60_000)) world.backup = path;
    return;
  }
  const restored = (crashAt: number | null) => timeline.until(control.restore(backup, crashAt), 60_000);
  if (dice.chance(0.5) && !(await restored(dice.between(1, 40)))) tally.note("restore cut off");
  // Whoever looks after it either does it again, or just starts it: what was cut off late enough is made good then.
  if (dice.chance(0.5)) {
    await timeline.advance(RESTORE_MS);
    if (!(await timeline.until(control.boot(), 60_000))) return;
    await timeline.advance(dice.between(1_000, 60_000));
  }
  while (!(await restored(null))) await timeline.advance(10_000); // the disk is full
  tally.note("control restored");
  rmSync(backup, { recursive: true, force: true });
  world.backup = null;
  // Requests that were under way before are too old by the time it serves again: bringing back data takes its time.
  await timeline.advance(RESTORE_MS);
  await timeline.until(control.boot(), 60_000);
  const known = new Set(control.rows<{ id: string }>("SELECT id FROM jobs").map(({ id }) => id));
  for (const [id, job] of world.submitted)
    if (!known.has(id)) world.submitted.set(id, { ...job, forgotten: true });
}
