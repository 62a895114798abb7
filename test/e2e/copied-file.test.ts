// Goal: one copied file is enough for every command, and `run` starts only bytes that verify.
// Method: the compiled agent in an empty directory, with its bundle, without it, and with one byte changed.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, closeSync, copyFileSync, mkdirSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { agentFlags, makeWorld, type Ran, type World } from "../../dist-scripts/world.ts";

const DIST = join(import.meta.dir, "..", "..", "dist");
let world: World;

beforeAll(() => {
  world = makeWorld(DIST, "copied");
});
afterAll(async () => {
  await world.close();
});

function copy(name: string, files: string[]): string {
  const dir = join(world.dir, name);
  mkdirSync(dir);
  for (const file of files) copyFileSync(join(DIST, file), join(dir, file));
  chmodSync(join(dir, "agentina"), 0o755);
  return join(dir, "agentina");
}

const run = (binary: string, ...words: string[]): Promise<Ran> => world.run("agent", [binary, ...words]);

test("with its bundle: version verifies, status works, run gets as far as the missing activation", async () => {
  const binary = copy("with", ["agentina", "agentina.sigstore.json"]);
  const version = await run(binary, "version", "--verify", "--json");
  expect([version.status, JSON.parse(version.stdout).bundle]).toEqual([0, "development"]);
  expect((await run(binary, "--help")).stdout).toContain("activate");
  const status = await run(binary, "status", "--json", ...agentFlags(world));
  expect(JSON.parse(status.stdout).state).toBe("inactive");
  const started = await run(binary, "run", "--json", ...agentFlags(world));
  expect(JSON.parse(started.stdout).error.code).toBe("STATE_DIR_MISSING");
});

test("alone: every command but run works, and run says why it does not", async () => {
  const binary = copy("alone", ["agentina"]);
  expect((await run(binary, "version")).status).toBe(0);
  expect((await run(binary, "status", ...agentFlags(world))).stderr).not.toContain("RELEASE_UNVERIFIED");
  const refused = await run(binary, "run", ...agentFlags(world));
  expect(refused.status).toBe(78);
  expect(refused.stderr).toContain("RELEASE_UNVERIFIED");
  expect(refused.stderr).toContain("agentina.sigstore.json");
});

test("a byte changed: run refuses as tampered", async () => {
  const binary = copy("changed", ["agentina", "agentina.sigstore.json"]);
  const fd = openSync(binary, "r+");
  writeSync(fd, "x", Bun.file(binary).size - 4096);
  closeSync(fd);
  const refused = await run(binary, "run", ...agentFlags(world));
  expect(refused.status).toBe(78);
  expect(refused.stderr).toContain("RELEASE_TAMPERED");
});

test("root is refused with the command to use instead", async () => {
  if (process.getuid?.() !== 0) return; // only root can show what root is told
  const binary = copy("root", ["agentina", "agentina.sigstore.json"]);
  const child = Bun.spawn({
    cmd: [binary, "run", ...agentFlags(world)],
    env: {},
    stderr: "pipe",
    stdout: "pipe",
  });
  expect(await child.exited).toBe(77);
  expect(await new Response(child.stderr).text()).toContain("sudo -u agentina");
});

test("commands this build does not contain say so with 69 and are absent from help", async () => {
  const binary = copy("absent", ["agentina", "agentina.sigstore.json"]);
  const help = (await run(binary, "--help")).stdout;
  for (const name of ["onboard", "upgrade", "report"]) {
    const ran = await run(binary, name, "--json");
    expect([ran.status, JSON.parse(ran.stdout).error.code]).toEqual([69, "CLI_NOT_IN_THIS_BUILD"]);
    expect(help).not.toContain(name);
  }
});
