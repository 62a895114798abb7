// Goal: the agent's command line is what its help says, from the sources as from the binary.
// Method: run it in this process on a terminal that remembers, and as a process where streams and exit statuses matter.

import { describe, expect, test } from "bun:test";
import { chownSync, rmSync } from "node:fs";
import { join } from "node:path";
import { AGENTINA } from "../../../src/cli/agentina.ts";
import { runProgram } from "../../../src/terminal/run-program.ts";
import { scratchDirectory } from "../../support/scratch.ts";
import { ROOT } from "../../support/source-files.ts";
import { inputOf, recorder } from "../terminal/fixture-program.ts";

async function call(...argv: string[]) {
  const terminal = recorder();
  const status = await runProgram(AGENTINA, inputOf(argv, terminal));
  return { status, ...terminal.written };
}

const spawn = (argv: readonly string[], env: Record<string, string> = {}) =>
  Bun.spawnSync({
    cmd: [process.execPath, join(ROOT, "src/main.ts"), ...argv],
    cwd: "/",
    env: { PATH: "/usr/bin:/bin", ...env },
  });

test("a wish to beat now, sent to a program that does not beat (yet), does not end it", async () => {
  const dir = scratchDirectory("usr2");
  if (process.getuid?.() === 0) chownSync(dir, 65_534, 65_534); // no agent is made as root
  const child = Bun.spawn({
    cmd: [
      process.execPath,
      join(ROOT, "src/main.ts"),
      "activate",
      "--url",
      "http://127.0.0.1:9/",
      "--token-file",
      "-",
    ],
    cwd: "/",
    env: { PATH: "/usr/bin:/bin", AGENTINA_STATE_DIR: dir },
    stdin: "pipe",
    stdout: "ignore",
    stderr: "pipe",
  });
  // It waits for the token on standard input; proc_pid_status(5) tells which signals it has taken into its own hands.
  const taken = async () => {
    const status = await Bun.file(`/proc/${child.pid}/status`).text();
    return (BigInt(`0x${/SigCgt:\s*([0-9a-f]+)/.exec(status)?.[1] ?? "0"}`) & (1n << 11n)) !== 0n;
  };
  for (let tries = 0; tries < 100 && !(await taken()); tries++) await Bun.sleep(50);
  child.kill("SIGUSR2");
  await Bun.sleep(100);
  child.stdin.write("no token\n");
  await child.stdin.end();
  await child.exited;
  expect(child.signalCode).toBeNull();
  expect(await new Response(child.stderr).text()).toContain("TOKEN_MALFORMED");
  rmSync(dir, { recursive: true });
});

describe("help", () => {
  test("names the commands there are and none that there are not", async () => {
    const { status, out } = await call("--help");
    expect(status).toBe(0);
    for (const name of ["activate", "run", "status", "version"]) expect(out).toContain(`\n  ${name} `);
    for (const name of ["onboard", "upgrade", "report"]) expect(out).not.toMatch(new RegExp(`\\b${name}\\b`));
  });

  test.each(["activate", "run", "status", "version"])(
    "of %s has usage, options and examples in 80 columns",
    async (name) => {
      const { status, out } = await call(name, "--help");
      expect(status).toBe(0);
      expect(out).toContain(`Usage: agentina ${name}`);
      expect(out).toContain("\nExamples:\n");
      expect(out).toContain("-h, --help");
      expect(Math.max(...out.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
    },
  );
});

test.each(["onboard", "upgrade", "report"])("%s is not in this build, whatever it is given", async (name) => {
  expect(await call(name)).toMatchObject({ status: 69 });
  expect((await call(name, "--help")).err).toContain("CLI_NOT_IN_THIS_BUILD");
  expect(JSON.parse((await call(name, "--now", "--json")).out).error).toMatchObject({
    code: "CLI_NOT_IN_THIS_BUILD",
    exit: 69,
  });
});

describe("version", () => {
  test("is one line, or one object", async () => {
    const { version } = await Bun.file(join(ROOT, "package.json")).json();
    expect((await call("version")).out).toBe(
      `agentina ${version} (source, commit source, source, bun ${Bun.version})\n`,
    );
    const json = JSON.parse((await call("version", "--json")).out);
    expect(json).toEqual({ version, commit: "source", date: "source", target: "source", bun: Bun.version });
  });

  test("with --verify says whether the binary is genuine, and why not", async () => {
    expect((await call("version", "--verify")).out).toContain(
      "\nbundle: unverified (it runs from sources)\n",
    );
    expect(JSON.parse((await call("version", "--verify", "--json")).out)).toMatchObject({
      bundle: "unverified",
      why: "it runs from sources",
    });
  });
});

describe("as a process", () => {
  test("answers on standard output with status 0", () => {
    const child = spawn(["version", "--json"]);
    expect(child.exitCode).toBe(0);
    expect(JSON.parse(child.stdout.toString()).target).toBe("source");
    expect(child.stderr.toString()).toBe("");
  });

  test("fails on standard error with its status, or in JSON on standard output", () => {
    const plain = spawn(["statsu"]);
    expect(plain.exitCode).toBe(64);
    expect(plain.stdout.toString()).toBe("");
    expect(plain.stderr.toString()).toContain('did you mean "status"?');
    const json = spawn(["version", "--jsn", "--json"]);
    expect(json.exitCode).toBe(64);
    expect(JSON.parse(json.stdout.toString()).error.code).toBe("CLI_UNKNOWN_FLAG");
    expect(json.stderr.toString()).toBe("");
  });

  test("does not start in an environment that changes how it runs", () => {
    const child = spawn(["version"], { BUN_CONFIG_VERBOSE_FETCH: "1" });
    expect(child.exitCode).toBe(78);
    expect(child.stderr.toString()).toContain("BUN_CONFIG_VERBOSE_FETCH");
  });

  test("does not connect where other certificates are named, but answers what needs no network", () => {
    const env = { SSL_CERT_FILE: "/tmp/ca.pem" };
    expect(spawn(["version"], env).exitCode).toBe(0);
    const away = ["activate", "--token", "act_x", "--state-dir", "/nonexistent/agentina", "--url"];
    const online = spawn([...away, "https://127.0.0.1:9"], env);
    expect(online.stderr.toString()).toContain("CLI_HOSTILE_ENVIRONMENT");
    expect(spawn([...away, "http://127.0.0.1:9"], env).stderr.toString()).not.toContain("HOSTILE");
  });

  test("never runs jobs from sources, and as root not at all", () => {
    const child = spawn(["run", "--state-dir", "/nonexistent/it's here"]);
    const told = child.stderr.toString();
    if (process.geteuid?.() === 0) {
      expect(child.exitCode).toBe(77);
      expect(told).toContain(`"sudo -u agentina agentina run --state-dir '/nonexistent/it'\\''s here'"`);
    } else {
      expect(child.exitCode).toBe(78);
      expect(told).toContain("RELEASE_UNVERIFIED");
    }
  });
});
