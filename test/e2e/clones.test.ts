// Goal: two holders of one identity never both go on, a state brought back from an older copy is noticed, and only the
// process an admin named gets to be the agent again.
// Method: compiled agents on copies of one state directory, beside each other and one after the other.

import { afterEach, expect, test } from "bun:test";
import { renameSync } from "node:fs";
import { controlJson, eventually, stopChild } from "../../dist-scripts/world.ts";
import {
  agentView,
  anomalies,
  anomaly,
  beatNow,
  copyState,
  eventsOf,
  type Fleet,
  finished,
  idle,
  type Place,
  shellJob,
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

const statesOf = async (place: Place): Promise<unknown[]> =>
  (await eventsOf(place, "agent.state")).map(({ state }) => state);
const beatsOf = async (place: Place): Promise<number> => (await eventsOf(place, "beat.accepted")).length;
const instOf = async (place: Place): Promise<string> =>
  String((await eventsOf(place, "agent.started")).at(-1)?.["inst"]);

/** The fleet's agent and a copy of it, both running. */
async function withClone(label: string) {
  const made = await startFleet(label);
  fleet = made;
  await idle(made.world);
  await stopChild(made.agent);
  const place = copyState(made.world, "clone");
  const before = await beatsOf(made.world);
  made.agent = startAgent(made.world);
  await eventually(20_000, "the original to beat", async () =>
    (await beatsOf(made.world)) > before ? true : null,
  );
  const clone = startAgent(made.world, place);
  return { fleet: made, clone, place };
}

test("a clone beside the original: both quarantined within two beats of both being alive", async () => {
  const { fleet, clone, place } = await withClone("clone");
  await eventually(20_000, "the clone to be heard", async () => ((await beatsOf(place)) > 0 ? true : null));
  await Bun.sleep(1100); // proofs carry whole seconds: one of the same second might be a late one
  await beatNow(fleet);
  await eventually(20_000, "the original to be quarantined", async () =>
    (await statesOf(fleet.world)).includes("quarantined") ? true : null,
  );
  await beatNow({ agent: clone });
  await eventually(20_000, "the clone to be quarantined", async () =>
    (await statesOf(place)).includes("quarantined") ? true : null,
  );
  expect((await agentView(fleet))?.standing).toBe("quarantined");
  const found = (await anomalies(fleet.world)).map(({ kind }) => kind);
  expect(found.every((kind) => kind === "clone" || kind === "stale_nonce")).toBe(true);
  expect(found).not.toEqual([]);
}, 120_000);

test("a clone that polls ten times faster never gets the new key; the process an admin named does", async () => {
  const { fleet, clone, place } = await withClone("fast-clone");
  const { world } = fleet;
  const hurry = setInterval(() => {
    if (clone.exitCode === null) void beatNow({ agent: clone });
  }, 200);
  try {
    await beatNow(fleet);
    await tells(fleet, "quarantined");
    const original = await instOf(world);
    expect(original).not.toBe(await instOf(place));
    const found = (await anomalies(world)).find(({ kind }) => kind === "clone" || kind === "stale_nonce");
    const shown = await eventually(60_000, "both to be known", async () => {
      const seen = await anomaly(world, found?.id ?? "");
      return seen.instances.filter(({ heard_since }) => heard_since).length >= 2 ? seen : null;
    });
    expect(shown.instances.map(({ inst }) => inst)).toContain(original as never);
    const recover = [
      "anomaly",
      "recover",
      shown.id,
      "--inst",
      original,
      "--reason",
      "this is the one in the rack",
    ];
    const asked = await beatsOf(place);
    fleet.agent.kill("SIGSTOP"); // the clone alone asks for a while
    await controlJson(world, recover);
    await eventually(30_000, "the clone to have asked three times", async () =>
      (await beatsOf(place)) >= asked + 3 ? true : null,
    );
    expect((await agentView(fleet))?.epoch).toBe(1);
    fleet.agent.kill("SIGCONT");
    await beatNow(fleet);
    await eventually(30_000, "the original to be back", async () =>
      (await agentView(fleet))?.epoch === 2 ? true : null,
    );
    const { id } = await submit(world, shellJob("echo mine"));
    expect((await finished(world, id, 60_000)).outcome).toBe("succeeded");
    expect(await clone.exited).toBe(10);
    expect((await eventsOf(place, "job.started")).length).toBe(0);
  } finally {
    clearInterval(hurry);
  }
}, 180_000);

test("a state brought back from an older copy is noticed, and can be recovered; receipts go on without a second one of a number", async () => {
  fleet = await startFleet("older");
  const { world } = fleet;
  await idle(world);
  await stopChild(fleet.agent);
  const copy = copyState(world, "older");
  fleet.agent = startAgent(world);
  const first = await submit(world, shellJob("echo one"));
  await finished(world, first.id, 60_000);
  await stopChild(fleet.agent);
  renameSync(world.state, `${world.state}-newer`);
  renameSync(copy.state, world.state);
  fleet.agent = startAgent(world);
  await tells(fleet, "quarantined");
  const [found] = await anomalies(world);
  expect(["stale_nonce", "seal_rollback"]).toContain(String(found?.kind));
  const inst = await instOf(world);
  const words = ["anomaly", "recover", found?.id ?? "", "--inst", inst, "--reason", "restored on purpose"];
  await controlJson(world, words);
  await beatNow(fleet);
  const next = await submit(world, shellJob("echo two"));
  const job = await finished(world, next.id, 60_000);
  expect([job.outcome, job.receipt?.verified, job.receipt?.chain]).toEqual(["succeeded", true, "intact"]);
  expect(job.receipt?.claims.seq).toBe(2);
}, 150_000);
