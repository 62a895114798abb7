// Goal: an agent that its restored Control Plane has never heard of comes back by itself, into standby, works once an admin
// has confirmed it, and its receipts are proven from a file alone.
// Method: compiled programs; the backup is older than the agent, the server is killed and brought back in
// place.

import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import { activateAgent, controlJson, eventually, makeWorld, startControl } from "../../dist-scripts/world.ts";
import {
  agentView,
  anomalies,
  beatNow,
  DIST,
  eventsOf,
  type Fleet,
  finished,
  shellJob,
  startAgent,
  submit,
} from "../support/fleet.ts";

let fleet: Fleet | undefined;

afterEach(async () => {
  await fleet?.world.close();
  fleet = undefined;
}, 60_000);

test("forgotten by a restore, it is taken back in standby and confirmed; its receipts verify offline", async () => {
  const world = makeWorld(DIST, "readmission");
  const control = await startControl(world, "127.0.0.1:0");
  const backup = join(world.controlData, "..", "backup.tar");
  await controlJson(world, ["backup", "--out", backup]);
  const { agent_id } = await activateAgent(world, control.url);
  fleet = { world, control, agent: startAgent(world), agentId: agent_id };
  const first = await submit(world, shellJob("echo one"));
  expect((await finished(world, first.id)).outcome).toBe("succeeded");

  const address = new URL(fleet.control.url).host;
  fleet.control.child.kill("SIGKILL");
  await fleet.control.child.exited;
  const words = ["restore", "--from", backup, "--data-dir", world.controlData, "--in-place", "--json"];
  const restored = await world.run("control", [world.agentinaControl, ...words]);
  expect([restored.status, restored.stderr]).toEqual([0, ""]);
  fleet.control = await startControl(world, address);
  const known = fleet;
  await eventually(90_000, "the agent to be taken back", async () => {
    await beatNow(known);
    await Bun.sleep(500);
    return (await agentView(known))?.state === "standby" ? true : null;
  });
  expect(await eventsOf(world, "agent.readmitted")).toHaveLength(1);
  expect(await anomalies(world)).toMatchObject([{ kind: "unknown_agent" }]);
  await controlJson(world, ["agent", "confirm", fleet.agentId, "--reason", "activated after the backup"]);
  await eventually(30_000, "the agent to have a slot", async () => {
    await beatNow(known);
    await Bun.sleep(500);
    return (await agentView(known))?.state === "idle" ? true : null;
  });
  const second = await submit(world, shellJob("echo two"));
  expect((await finished(world, second.id, 60_000)).outcome).toBe("succeeded");

  const out = join(world.controlData, "..", "receipts.jsonl");
  await controlJson(world, ["receipts", "export", "--agent", fleet.agentId, "--out", out]);
  const verified = await world.run("control", [world.agentinaControl, "receipts", "verify", out, "--json"]);
  expect([verified.status, JSON.parse(verified.stdout)]).toMatchObject([0, { ok: true, receipts: 2 }]);
}, 240_000);
