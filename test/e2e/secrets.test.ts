// Goal: a secret reaches the one step that names it, and neither the disk of either side nor anything the job says has it.
// Method: compiled programs; a job that prints its secret in several encodings and asks for it in a step that must not
// have it; then every file of both programs is searched.

import { afterEach, expect, test } from "bun:test";
import { eventually } from "../../dist-scripts/world.ts";
import { type Fleet, finished, idle, showJob, startFleet, submit } from "../support/fleet.ts";

let fleet: Fleet | undefined;

afterEach(async () => {
  await fleet?.world.close();
  fleet = undefined;
}, 60_000);

const VALUE = "hunter2-Zq8/xw+Kd==";

test("it is given to one step, and found nowhere else", async () => {
  fleet = await startFleet("secrets");
  const { world } = fleet;
  await idle(world);
  const set = ["secret", "set", "DEPLOY_KEY", "--from-file", "-", "--data-dir", world.controlData, "--json"];
  expect((await world.run("control", [world.agentinaControl, ...set], VALUE)).status).toBe(0);
  const script = [
    'printf "raw %s\\n" "$DEPLOY_KEY"',
    'printf %s "$DEPLOY_KEY" | base64',
    'printf %s "ab$DEPLOY_KEY" | base64',
    'echo "length $(printf %s "$DEPLOY_KEY" | wc -c)"',
  ].join("; ");
  const { id } = await submit(world, {
    kind: "test.run",
    payload: {
      source: { type: "empty" },
      setup: [["sh", "-c", 'test -z "$DEPLOY_KEY" && echo setup has none']],
      run: ["sh", "-c", script],
      report: { format: "exit" },
      secrets: { run: ["DEPLOY_KEY"] },
    },
    scope: { files: { read: [], write: ["./"] }, commands: "system", hosts: [], env: ["DEPLOY_KEY"] },
    limits: { timeout_s: 60 },
    secrets: ["DEPLOY_KEY"],
  });
  expect((await finished(world, id)).outcome).toBe("succeeded");
  await eventually(20_000, "its log to be whole", async () => (await showJob(world, id)).log_verified);
  const shown = await world.run("control", [
    ...[world.agentinaControl, "job", "watch", id, "--data-dir", world.controlData],
  ]);
  expect(shown.stdout).toContain("setup has none");
  expect(shown.stdout).toContain(`length ${VALUE.length}`);
  expect(shown.stdout).toContain("raw [secret DEPLOY_KEY]");
  const forms = [VALUE, Buffer.from(VALUE).toString("base64"), Buffer.from(`ab${VALUE}`).toString("base64")];
  for (const form of forms) expect(shown.stdout).not.toContain(form);
  const searched = Bun.spawnSync([
    "/usr/bin/grep",
    "--recursive",
    "--fixed-strings",
    "--text",
    "-e",
    VALUE,
    world.dir,
  ]);
  expect([searched.exitCode, searched.stdout.toString()]).toEqual([1, ""]);
}, 90_000);
