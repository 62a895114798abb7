// Goal: no job is lost, repeated or told wrongly when a program is killed or its neighbour is away.
// Method: compiled programs, SIGKILL at chosen moments, a marker file outside the workspace that counts starts.

import { afterEach, expect, test } from "bun:test";
import { agentFlags, eventually, startControl } from "../../dist-scripts/world.ts";
import {
  type CountingFleet,
  countingJob,
  type Fleet,
  finished,
  idle,
  shellJob,
  showJob,
  startAgent,
  startCountingFleet,
  startFleet,
  submit,
} from "../support/fleet.ts";

let fleet: Fleet | undefined;

afterEach(async () => {
  await fleet?.world.close();
  fleet = undefined;
}, 60_000);

async function fleetWithCounter(label: string): Promise<CountingFleet> {
  const made = await startCountingFleet(label);
  fleet = made.fleet;
  return made;
}

test("kill -9 of the agent in the middle of a job: interrupted once, not run again, nothing left running", async () => {
  const { fleet, counter, starts } = await fleetWithCounter("kill-agent");
  const { id } = await submit(fleet.world, countingJob(counter, 60));
  await eventually(20_000, "the job to start", async () => (starts() > 0 ? true : null));
  fleet.agent.kill("SIGKILL");
  await fleet.agent.exited;
  fleet.agent = startAgent(fleet.world);
  const job = await finished(fleet.world, id);
  expect([job.outcome, job.reason, job.attempt]).toEqual(["interrupted", "agent_restarted", 1]);
  expect(job.receipt?.verified).toBe(true);
  await Bun.sleep(1500);
  expect(starts()).toBe(1);
  expect((await showJob(fleet.world, id)).receipt?.sha256).toBe(job.receipt?.sha256 as never);
}, 90_000);

test("kill -9 of the Control Plane in the middle of a job: the outcome arrives after its restart", async () => {
  const { fleet, counter, starts } = await fleetWithCounter("kill-control");
  const { id } = await submit(fleet.world, countingJob(counter, 3));
  await eventually(20_000, "the job to start", async () => (starts() > 0 ? true : null));
  const address = new URL(fleet.control.url).host;
  fleet.control.child.kill("SIGKILL");
  await fleet.control.child.exited;
  await Bun.sleep(3500);
  fleet.control = await startControl(fleet.world, address);
  const job = await finished(fleet.world, id, 60_000);
  expect([job.outcome, job.reason, starts()]).toEqual(["succeeded", "exit_zero", 1]);
  expect(job.receipt?.verified).toBe(true);
}, 120_000);

test("SIGTERM lets a running job end and delivers its outcome; the exit status is 0", async () => {
  const { fleet, counter, starts } = await fleetWithCounter("drain");
  const { id } = await submit(fleet.world, countingJob(counter, 2));
  await eventually(20_000, "the job to start", async () => (starts() > 0 ? true : null));
  fleet.agent.kill("SIGTERM");
  expect(await fleet.agent.exited).toBe(0);
  const job = await showJob(fleet.world, id);
  expect([job.state, job.outcome]).toEqual(["finished", "succeeded"]);
}, 60_000);

test("a second SIGTERM cancels: the job ends cancelled, its processes are gone", async () => {
  const { fleet, counter, starts } = await fleetWithCounter("cancel");
  const { id } = await submit(fleet.world, countingJob(counter, 4711));
  await eventually(20_000, "the job to start", async () => (starts() > 0 ? true : null));
  fleet.agent.kill("SIGTERM");
  await Bun.sleep(300);
  fleet.agent.kill("SIGTERM");
  expect(await fleet.agent.exited).toBe(0);
  const job = await showJob(fleet.world, id);
  expect([job.outcome, job.reason]).toEqual(["cancelled", "host_stopping"]);
  const left = Bun.spawnSync(["/usr/bin/pgrep", "-f", "sleep 4711"]);
  expect(left.stdout.toString().trim()).toBe("");
}, 60_000);

test("a second agent on the same state directory is told whose it is, and the first goes on", async () => {
  fleet = await startFleet("two");
  const { world } = fleet;
  await idle(world);
  const second = await world.run("agent", [world.agentina, "run", ...agentFlags(world)]);
  expect(second.status).toBe(75);
  expect(second.stderr).toContain("STATE_LOCKED");
  const { id } = await submit(world, shellJob("true"));
  expect((await finished(world, id)).outcome).toBe("succeeded");
}, 60_000);
