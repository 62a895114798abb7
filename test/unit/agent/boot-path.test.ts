// Goal: between its first instruction and its first heartbeat the agent starts no process: not for its seal, its keys, its
// fingerprint.
// Method: the kernel's account of a process that makes these checks for real; the sources of everything they can reach,
// read for whatever could start one; and the same account for a process that does start one.

import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { scratchDirectory } from "../../support/scratch.ts";
import { ROOT } from "../../support/source-files.ts";
import { ActivationDesk } from "./activation-desk.ts";
import type { BootCost } from "./boot-child.ts";

const scratch = scratchDirectory("boot-path");
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const STARTS =
  /\bchild_process\b|\bBun\.spawn|\bspawnSync\b|\bsysteminformation\b|\bfork\(|\bcluster\b|\bposix_spawn/;

/** Every file of ours that one file can reach by its imports. */
function reachable(entry: string, seen = new Set<string>()): Set<string> {
  if (seen.has(entry)) return seen;
  seen.add(entry);
  const text = readFileSync(entry, "utf8");
  for (const [, type, path = ""] of text.matchAll(/^(?:import|export) (type )?[^;]*?from "(\.[^"]+)";$/gms)) {
    if (type === undefined) reachable(join(dirname(entry), path), seen);
  }
  return seen;
}

describe("the checks of a start", () => {
  test.each(["src/agent/boot.ts", "src/agent/identity.ts", "src/host/identity-facts.ts"])(
    "%s reaches nothing that starts a process",
    (entry) => {
      const files = [...reachable(join(ROOT, entry))];
      expect(files.every((path) => existsSync(path))).toBe(true);
      expect(
        files.filter((path) => STARTS.test(readFileSync(path, "utf8"))).map((path) => relative(ROOT, path)),
      ).toEqual([]);
    },
  );

  test("could be seen to reach one: the sandbox does", () => {
    const files = [...reachable(join(ROOT, "src/sandbox/run.ts"))];
    expect(files.some((path) => STARTS.test(readFileSync(path, "utf8")))).toBe(true);
  });

  test("leave no trace of a child in the kernel's account of their process", async () => {
    using desk = await ActivationDesk.open(Date.now());
    const dir = join(scratch, "state");
    await desk.activate(dir);
    const cost = JSON.parse(run([join(import.meta.dir, "boot-child.ts"), "checks", dir])) as BootCost;
    expect(["match", "drift", "mismatch"]).toContain(cost.result);
    expect(cost.children_faults).toBe(0);
    const parent = `Bun.spawnSync(["/bin/true"], { env: {} });
      const fields = require("node:fs").readFileSync("/proc/self/stat", "latin1").replace(/^.*\\) /s, "").split(" ");
      console.log(Number(fields[8]) + Number(fields[10]));`;
    expect(Number(run(["-e", parent]))).toBeGreaterThan(0);
  });
});

function run(argv: readonly string[]): string {
  const child = Bun.spawnSync({
    cmd: [process.execPath, ...argv],
    env: { PATH: "/usr/bin:/bin" },
    stdout: "pipe",
    stderr: "inherit",
  });
  expect(child.exitCode).toBe(0);
  return child.stdout.toString();
}
