// Goal: set-up installs when it must, never when it need not, and never calls a half-done install done.
// Method: run the real script in a small project whose installer is a shell script that keeps a diary.

import { afterAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT } from "../../support/source-files.ts";

const root = mkdtempSync(join(tmpdir(), "agentina-setup-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const BIG_ENOUGH_BYTES = 2_000_000;
const INSTALL = `mkdir -p node_modules/left && echo '{"version":"1.0.0"}' > node_modules/left/package.json
mkdir -p node_modules/bun/bin && truncate -s ${BIG_ENOUGH_BYTES} node_modules/bun/bin/bun.exe`;

function project(installer: string): string {
  const directory = mkdtempSync(join(root, "project-"));
  mkdirSync(join(directory, "dist-scripts"));
  cpSync(join(ROOT, "dist-scripts", "setup.mjs"), join(directory, "dist-scripts", "setup.mjs"));
  writeLock(directory, "1.0.0");
  const bun = join(directory, "bun");
  writeFileSync(bun, `#!/bin/sh\necho "$@" >> diary\n${installer}\n`);
  chmodSync(bun, 0o755);
  return directory;
}

function writeLock(directory: string, version: string): void {
  const packages = {
    "": {},
    "node_modules/left": { version },
    "node_modules/right": { version, optional: true },
  };
  writeFileSync(join(directory, "package-lock.json"), JSON.stringify({ packages }));
}

function setup(directory: string): { status: number; said: string } {
  const child = Bun.spawnSync({
    cmd: [process.execPath, "dist-scripts/setup.mjs"],
    cwd: directory,
    env: { PATH: "/usr/bin:/bin", npm_execpath: join(directory, "bun") },
  });
  return { status: child.exitCode, said: child.stderr.toString() };
}

const diary = (directory: string) => {
  const file = join(directory, "diary");
  return existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
};

describe("set-up", () => {
  test("installs once, and again when the lock changes", () => {
    const directory = project(INSTALL);
    expect(setup(directory).status).toBe(0);
    expect(setup(directory).status).toBe(0);
    expect(diary(directory)).toEqual(["ci"]);
    writeLock(directory, "1.0.1");
    expect(setup(directory).status).toBe(0);
    expect(diary(directory)).toEqual(["ci", "ci"]);
  });

  test("takes what somebody installed by hand", () => {
    const directory = project(INSTALL);
    Bun.spawnSync({ cmd: ["/bin/sh", "-c", INSTALL], cwd: directory, env: { PATH: "/usr/bin:/bin" } });
    expect(setup(directory).status).toBe(0);
    expect(diary(directory)).toEqual([]);
  });

  test("fails with the installer, and tries again the next time", () => {
    const directory = project("exit 7");
    const first = setup(directory);
    expect(first.status).toBe(1);
    expect(first.said).toContain("status 7");
    setup(directory);
    expect(diary(directory)).toEqual(["ci", "ci"]);
  });

  test("completes a runtime that an install without scripts left empty", () => {
    const complete = `require("node:fs").truncateSync("node_modules/bun/bin/bun.exe", ${BIG_ENOUGH_BYTES});`;
    const directory = project(
      `${INSTALL}\n: > node_modules/bun/bin/bun.exe\necho '${complete}' > node_modules/bun/install.js`,
    );
    expect(setup(directory).status).toBe(0);
    expect(Bun.file(join(directory, "node_modules/bun/bin/bun.exe")).size).toBe(BIG_ENOUGH_BYTES);
  });

  test("says what is missing when there is no runtime to complete", () => {
    const directory = project(`${INSTALL}\nrm node_modules/bun/bin/bun.exe`);
    const { status, said } = setup(directory);
    expect(status).toBe(1);
    expect(said).toContain("Cannot find the Bun runtime");
  });
});
