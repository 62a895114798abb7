// Goal: a Control Plane brought back from a backup finds its fleet again without a false alarm and runs nothing twice;
// one whose database was merely replaced by an older one raises the alarm and quarantines nobody.
// Method: compiled programs; a job is queued before the backup and run after it, the server is killed and brought back.

import { afterEach, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { controlJson, eventually, startControl, stopChild } from "../../dist-scripts/world.ts";
import {
  agentView,
  anomalies,
  beatNow,
  type CountingFleet,
  countingJob,
  eventsOf,
  finished,
  idle,
  shellJob,
  showJob,
  startAgent,
  startCountingFleet,
  submit,
} from "../support/fleet.ts";

let made: CountingFleet | undefined;

afterEach(async () => {
  await made?.fleet.world.close();
  made = undefined;
}, 60_000);

/** A fleet with one job queued while its agent is down. */
async function withQueuedJob(label: string) {
  made = await startCountingFleet(label);
  const { fleet, counter, starts } = made;
  await idle(fleet.world);
  await stopChild(fleet.agent);
  const { id } = await submit(fleet.world, countingJob(counter, 0));
  return { fleet, starts, id };
}

async function killControl({ fleet }: CountingFleet): Promise<string> {
  const address = new URL(fleet.control.url).host;
  fleet.control.child.kill("SIGKILL");
  await fleet.control.child.exited;
  return address;
}

test("restored from a backup: the fleet resynchronises without an anomaly, and nothing runs twice", async () => {
  const { fleet, starts, id } = await withQueuedJob("restored");
  const { world } = fleet;
  const backup = join(world.controlData, "..", "backup");
  await controlJson(world, ["backup", "--out", backup]);
  fleet.agent = startAgent(world);
  expect((await finished(world, id)).outcome).toBe("succeeded");
  const unknown = await submit(world, shellJob("echo lost with the database"));
  await finished(world, unknown.id);

  const address = await killControl(made as CountingFleet);
  const words = ["restore", "--from", backup, "--data-dir", world.controlData, "--in-place", "--json"];
  const restored = await world.run("control", [world.agentinaControl, ...words]);
  expect([restored.status, restored.stderr]).toEqual([0, ""]);
  fleet.control = await startControl(world, address);
  await eventually(90_000, "the agent to be known again", async () => {
    await beatNow(fleet);
    await Bun.sleep(500);
    return (await agentView(fleet))?.epoch === 2 ? true : null;
  });
  const job = await finished(world, id, 90_000);
  expect([job.outcome, job.receipt?.verified, starts()]).toEqual(["succeeded", true, 1]);
  expect(await anomalies(world)).toEqual([]);
  const next = await submit(world, shellJob("echo on"));
  expect((await finished(world, next.id, 60_000)).outcome).toBe("succeeded");
  expect((await eventsOf(world, "job.started")).length).toBe(3);
  expect(starts()).toBe(1);
}, 240_000);

test("an older database without a restore: an alarm, nobody quarantined, nothing run twice", async () => {
  const { fleet, starts, id } = await withQueuedJob("rolled-back");
  const { world } = fleet;
  await stopChild(fleet.control.child);
  const older = `${world.controlData}-older`;
  expect(Bun.spawnSync(["/bin/cp", "--archive", world.controlData, older]).exitCode).toBe(0);
  const address = new URL(fleet.control.url).host;
  fleet.control = await startControl(world, address);
  fleet.agent = startAgent(world);
  expect((await finished(world, id)).outcome).toBe("succeeded");

  await killControl(made as CountingFleet);
  rmSync(world.controlData, { recursive: true });
  expect(Bun.spawnSync(["/bin/cp", "--archive", older, world.controlData]).exitCode).toBe(0);
  fleet.control = await startControl(world, address);
  await eventually(60_000, "the alarm", async () => {
    await beatNow(fleet);
    await Bun.sleep(500);
    return (await anomalies(world)).some(({ kind }) => kind === "server_rollback") ? true : null;
  });
  expect((await anomalies(world)).map(({ kind }) => kind)).toEqual(["server_rollback"]);
  expect((await agentView(fleet))?.standing).toBe("live");
  expect((await showJob(world, id)).state).not.toBe("running");
  expect(starts()).toBe(1);
  expect(fleet.agent.exitCode).toBeNull();
}, 180_000);
