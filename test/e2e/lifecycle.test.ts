// Goal: an admin can hold an agent, end it, and bring it back, and what he did outlives every restart.
// Method: compiled programs; orders are given on the command line, agents are killed and started in between.

import { afterEach, expect, test } from "bun:test";
import { activateAgent, agentFlags, controlJson, eventually, stopChild } from "../../dist-scripts/world.ts";
import {
  agentView,
  anomalies,
  anomaly,
  beatNow,
  eventsOf,
  type Fleet,
  finished,
  idle,
  restartAgent,
  shellJob,
  showJob,
  startAgent,
  startFleet,
  submit,
  tells,
} from "../support/fleet.ts";

let fleet: Fleet | undefined;

afterEach(async () => {
  await fleet?.world.close();
  fleet = undefined;
}, 60_000);

const order = (known: Fleet, word: string): Promise<object> =>
  controlJson(known.world, ["agent", word, known.agentId, "--reason", "a test"]);

test("quarantine cancels what runs, outlives a restart, and ends with new keys for the process an admin named", async () => {
  fleet = await startFleet("quarantine");
  const { world } = fleet;
  await idle(world);
  const { id } = await submit(world, shellJob("echo up; sleep 4712"));
  await eventually(30_000, "the job to run", async () =>
    (await showJob(world, id)).log_bytes > 0 ? true : null,
  );
  await order(fleet, "quarantine");
  await tells(fleet, "quarantined");
  await eventually(20_000, "its processes to be gone", async () =>
    Bun.spawnSync(["/usr/bin/pgrep", "-f", "sleep 4712"]).exitCode === 1 ? true : null,
  );
  await restartAgent(fleet);
  await tells(fleet, "quarantined");
  const waiting = await submit(world, shellJob("echo later"));
  await beatNow(fleet);
  await Bun.sleep(2500);
  expect((await showJob(world, waiting.id)).state).toBe("queued");

  const [found] = await anomalies(world);
  const { instances } = await anomaly(world, found?.id ?? "");
  const picked = instances.toSorted((a, b) => b.last_at - a.last_at)[0];
  const argv = [
    "anomaly",
    "recover",
    found?.id ?? "",
    "--inst",
    picked?.inst ?? "",
    "--reason",
    "looked at it",
  ];
  await controlJson(world, argv);
  await beatNow(fleet);
  expect((await finished(world, waiting.id, 60_000)).outcome).toBe("succeeded");
  expect((await agentView(fleet))?.epoch).toBe(2);
  const cancelled = await finished(world, id, 60_000);
  expect([cancelled.outcome, cancelled.reason]).toEqual(["cancelled", "quarantined"]);
  expect(cancelled.receipt?.verified).toBe(true);
  expect(await anomalies(world)).toEqual([]);
}, 180_000);

test("terminal: the agent ends with 10 and stays down, until a fresh token makes a new agent of the host", async () => {
  fleet = await startFleet("terminal");
  const { world } = fleet;
  await idle(world);
  const { id } = await submit(world, shellJob("echo one"));
  await finished(world, id);
  await order(fleet, "terminate");
  await beatNow(fleet);
  expect(await fleet.agent.exited).toBe(10);
  for (let tries = 0; tries < 2; tries++) {
    const again = await world.run("agent", [world.agentina, "run", ...agentFlags(world)]);
    expect(again.status).toBe(10);
    expect(again.stderr).toContain("STATE_TERMINAL");
  }
  const shown = await world.run("agent", [world.agentina, "status", ...agentFlags(world), "--json"]);
  expect(JSON.parse(shown.stdout)).toMatchObject({ state: "terminal" });
  expect((await agentView(fleet))?.standing).toBe("ended");

  const before = fleet.agentId;
  const { agent_id } = await activateAgent(world, fleet.control.url);
  expect(agent_id).not.toBe(before);
  fleet.agent = startAgent(world);
  const next = await submit(world, shellJob("echo two"));
  const job = await finished(world, next.id, 60_000);
  expect([job.outcome, job.agent_id as string]).toEqual(["succeeded", agent_id]);
}, 180_000);

test("stop, a restart, resume: nothing runs in between, and beats go on", async () => {
  fleet = await startFleet("stop");
  const { world } = fleet;
  await idle(world);
  await order(fleet, "stop");
  await tells(fleet, "paused");
  await restartAgent(fleet);
  await tells(fleet, "paused");
  const { id } = await submit(world, shellJob("echo later"));
  await beatNow(fleet);
  await Bun.sleep(2500);
  expect((await showJob(world, id)).state).toBe("queued");
  await order(fleet, "resume");
  expect((await finished(world, id, 60_000)).outcome).toBe("succeeded");
}, 120_000);

test("a running job is cancelled by its id, a queued one at once", async () => {
  fleet = await startFleet("cancel-order");
  const { world } = fleet;
  await idle(world);
  const { id } = await submit(world, shellJob("echo up; sleep 4713"));
  await eventually(30_000, "the job to run", async () =>
    (await showJob(world, id)).log_bytes > 0 ? true : null,
  );
  await controlJson(world, ["job", "cancel", id]);
  const job = await finished(world, id);
  expect([job.outcome, job.reason, job.receipt?.verified]).toEqual(["cancelled", "order_cancel", true]);
  expect(Bun.spawnSync(["/usr/bin/pgrep", "-f", "sleep 4713"]).exitCode).toBe(1);
  expect((await eventsOf(world, "job.stopping")).map(({ cause }) => cause)).toEqual(["order_cancel"]);
  await stopChild(fleet.agent);
  const queued = await submit(world, shellJob("echo never"));
  await controlJson(world, ["job", "cancel", queued.id]);
  expect((await showJob(world, queued.id)).outcome).toBe("cancelled");
}, 120_000);
