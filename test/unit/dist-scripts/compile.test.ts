// Goal: a compiled program works where its sources are not, runs piscina workers there, cannot be made to
// run foreign code by its directory or environment, and comes out the same byte for byte.
// Method: compile a small program with the build's own recipe, and one without its protections to see that
// the smoke test can fail.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { capture } from "../../../dist-scripts/command.ts";
import { AGENT, compileProgram, type Program, type Project } from "../../../dist-scripts/programs.ts";
import { smokeTest } from "../../../dist-scripts/smoke.ts";
import { ROOT } from "../../support/source-files.ts";

const root = mkdtempSync(join(tmpdir(), "agentina-compile-"));
const constants = { version: "9.8.7", commit: "c0ffee", date: "d", target: "linux-x64", devKeyPem: "PEM" };

const MAIN = `
declare const __AGENTINA_VERSION__: string, __AGENTINA_COMMIT__: string, __AGENTINA_DEV_KEY_PEM__: string;
const command = process.argv[2];
if (command === "version") {
  const [version, commit, key] = [__AGENTINA_VERSION__, __AGENTINA_COMMIT__, __AGENTINA_DEV_KEY_PEM__];
  console.log(JSON.stringify({ version, commit, key }));
} else if (command === "pool") {
  const { Piscina } = await import("piscina");
  const pool = new Piscina({ filename: "/$bunfs/root/workers/executor.js", name: "execute", maxThreads: 2 });
  pool.on("error", (error) => { console.error(error); process.exit(3); });
  console.log(JSON.stringify(await Promise.all([1, 2, 3].map((n) => pool.run(n)))));
  await pool.destroy();
} else if (command === "eval") {
  console.log(new Function("return 1")());
}
`;
const EXECUTOR = "export const execute = (n: number) => ({ twice: 2 * n, main: Bun.isMainThread });\n";

function fixture(name: string): Project {
  const directory = join(root, name);
  mkdirSync(join(directory, "src"), { recursive: true });
  mkdirSync(join(directory, "workers"));
  symlinkSync(join(ROOT, "node_modules"), join(directory, "node_modules"));
  cpSync(join(ROOT, "workers", "piscina-entry.ts"), join(directory, "workers", "piscina-entry.ts"));
  writeFileSync(join(directory, "src", "main.ts"), MAIN);
  writeFileSync(join(directory, "workers", "executor.ts"), EXECUTOR);
  return { root: directory, constants };
}

let binary: string;
beforeAll(async () => {
  const project = fixture("one");
  binary = join(project.root, "agentina");
  await compileProgram(AGENT, project, binary);
}, 30_000);
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Runs a copy of the binary with neither its sources nor this repository in sight. */
function runElsewhere(...args: string[]) {
  const view = [
    "--ro-bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
    "--tmpfs",
    ROOT,
    "--tmpfs",
    "/tmp",
  ];
  const argv = [
    "bwrap",
    ...view,
    "--ro-bind",
    binary,
    "/tmp/agentina",
    "--chdir",
    "/tmp",
    "--unshare-net",
    "--",
  ];
  return capture([...argv, "/tmp/agentina", ...args], { env: { PATH: "/usr/bin:/bin" } });
}

describe("a compiled program", () => {
  test("knows its constants", () => {
    const { stdout } = runElsewhere("version");
    expect(JSON.parse(stdout)).toEqual({ version: "9.8.7", commit: "c0ffee", key: "PEM" });
  });

  test("runs piscina workers without its sources", () => {
    const { status, stdout, stderr } = runElsewhere("pool");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(JSON.parse(stdout)).toEqual([2, 4, 6].map((twice) => ({ twice, main: false })));
  });

  test("makes no code from strings", () => {
    const { status, stdout, stderr } = runElsewhere("eval");
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toContain("EvalError");
  });

  test("holds no path of the machine that built it", async () => {
    const { status } = capture(["grep", "-q", "--text", "--fixed-strings", root, binary]);
    expect(status).toBe(1);
  });

  test("is the same byte for byte from another directory", async () => {
    const project = fixture("elsewhere");
    const other = join(project.root, "agentina");
    await compileProgram(AGENT, project, other);
    expect(capture(["cmp", binary, other])).toMatchObject({ status: 0 });
  }, 30_000);
});

describe("the recipe", () => {
  test("refuses a program in which piscina's worker path is not where it was", async () => {
    const project = fixture("unexpected");
    const unexpected: Program = { ...AGENT, piscinaPaths: 0 };
    const attempt = compileProgram(unexpected, project, join(project.root, "agentina"));
    await expect(attempt).rejects.toThrow("piscina's worker path was found 1 times, expected 0");
  });

  test("names the file that is missing", async () => {
    const project = fixture("incomplete");
    rmSync(join(project.root, "workers", "executor.ts"));
    await expect(compileProgram(AGENT, project, join(project.root, "agentina"))).rejects.toThrow(
      "executor.ts",
    );
  });
});

describe("the smoke test", () => {
  test("accepts the protected program", async () => {
    await smokeTest(binary, "9.8.7", join(root, "one"));
  });

  test("refuses one that names another version", async () => {
    await expect(smokeTest(binary, "9.8.8", join(root, "one"))).rejects.toThrow('itself version "9.8.7"');
  });

  test("refuses one that runs what its directory tells it to", async () => {
    const project = fixture("unprotected");
    const outfile = join(project.root, "agentina");
    const entrypoints = [join(project.root, "src", "main.ts")];
    const define = {
      __AGENTINA_VERSION__: '"9.8.7"',
      __AGENTINA_COMMIT__: '""',
      __AGENTINA_DEV_KEY_PEM__: '""',
    };
    await Bun.build({ entrypoints, define, compile: { outfile } });
    await expect(smokeTest(outfile, "9.8.7", project.root)).rejects.toThrow(
      "ran code from the current directory",
    );
  }, 30_000);
});
