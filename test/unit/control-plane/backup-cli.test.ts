// Goal: backup and restore say what they did and what is to be done, and fail with a code and an exit status.
// Method: the program run in this process against a real server.

import { afterEach, expect, test } from "bun:test";
import { chmod, copyFile, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { dirOf, Places } from "./support/backups.ts";
import { mint } from "./support/control-plane.ts";
import { runControl } from "./support/run-control.ts";
import { ScriptedAgent } from "./support/scripted-agent.ts";

const places = new Places();
afterEach(() => places.clean());

test("a backup is made while the server runs, and told with its digest and what it is worth", async () => {
  const control = await places.start();
  const out = join(await places.scratch(), "copy.tar");
  const where = ["--data-dir", dirOf(control)];
  const made = await runControl(["backup", "--out", out, ...where]);
  expect(made.exit).toBe(0);
  expect(made.out).toMatch(/Backup in .*copy\.tar: \d+ files, .*, era 1\nManifest SHA-256 [0-9a-f]{64}\n/);
  expect(made.err).toContain("every key of this Control Plane");
  expect((await stat(out)).mode & 0o777).toBe(0o600);
  const again = await runControl(["backup", "--out", out, ...where]);
  expect([again.exit, again.err.includes("OUTPUT_EXISTS")]).toEqual([73, true]);
  const json = await runControl(["backup", "--out", `${out}.d`, "--json", ...where]);
  expect(JSON.parse(json.out)).toMatchObject({ path: `${out}.d`, era: 1, missing: [] });
  expect((await runControl(["backup", ...where])).exit).toBe(64);
});

test("a restore says which backup it was, what it ended again, what it put aside, and how to go on", async () => {
  const control = await places.start();
  const place = await places.scratch();
  const copy = join(place, "copy");
  const where = ["--data-dir", dirOf(control)];
  const token = await mint(control);
  await runControl(["backup", "--out", copy, ...where]);
  await ScriptedAgent.enrol(control.url, token);
  const served = await runControl(["restore", "--from", copy, "--in-place", ...where]);
  expect([served.exit, served.err.includes("CONTROL_DATA_LOCKED")]).toEqual([75, true]);
  await control.restart(async () => {
    const full = await runControl(["restore", "--from", copy, ...where]);
    expect([full.exit, full.err.includes("--in-place")]).toEqual([73, true]);
    const done = await runControl(["restore", "--from", copy, "--in-place", ...where]);
    expect(done.exit).toBe(0);
    for (const text of [
      "Restored the backup of",
      "tokens 1, agents 0",
      "held until",
      "before-era-",
      "Start it",
    ]) {
      expect(done.out).toContain(text);
    }
    expect(done.err).toBe("");
  });
  const ledger = join(place, "ledger.jsonl");
  await copyFile(join(dirOf(control), "ledger.jsonl"), ledger);
  await chmod(ledger, 0o600);
  const bare = await runControl(["restore", "--from", copy, "--data-dir", join(place, "a")]);
  expect([bare.exit, bare.err.includes("There was no ledger")]).toEqual([0, true]);
  const saved = ["restore", "--from", copy, "--ledger", ledger, "--data-dir", join(place, "b"), "--json"];
  expect(JSON.parse((await runControl(saved)).out)).toMatchObject({ ledger_found: true, put_aside: null });
  await rm(join(copy, "manifest.json"));
  const broken = await runControl(["restore", "--from", copy, "--data-dir", join(place, "c")]);
  expect([broken.exit, broken.err.includes("BACKUP_UNUSABLE")]).toEqual([65, true]);
  expect(await readdir(join(place, "c", "blobs"))).toEqual([]);
});
