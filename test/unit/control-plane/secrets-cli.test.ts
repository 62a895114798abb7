// Goal: a person keeps a secret without it showing on a command line, a screen or a history, and is told what is wrong in
// words that do not repeat it.
// Method: the program run in this process against a real server; one real process for standard input.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { CONTROL } from "../../../src/control-plane/cli/control.ts";
import { secretText } from "../../../src/control-plane/cli/secret-source.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { SECRETS_API } from "../../../src/protocol/secret.ts";
import { runProgram } from "../../../src/terminal/run-program.ts";
import { ROOT } from "../../support/source-files.ts";
import { tempDir } from "../sandbox/sandbox-bench.ts";
import { startTestControlPlane, type TestControlPlane } from "./support/control-plane.ts";

const VALUE = "npm_7ZkQpR2sTuVw";

let control: TestControlPlane;
let dir: ReturnType<typeof tempDir>;
beforeAll(async () => {
  control = await startTestControlPlane();
  dir = tempDir();
});
afterAll(async () => {
  dir[Symbol.dispose]();
  await control.close();
});

async function run(...words: string[]): Promise<{ exit: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const exit = await runProgram(CONTROL, {
    argv: [...words, "--data-dir", control.running().paths.root],
    env: {},
    execArgv: [],
    compiled: false,
    terminal: {
      out: (text) => {
        out += text;
      },
      say: async (text) => {
        out += text;
      },
      err: (text) => {
        err += text;
      },
      colour: { out: false, err: false },
    },
  });
  return { exit, out, err };
}

function file(text: string | Uint8Array): string {
  const path = join(dir.path, crypto.randomUUID());
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

describe("secret", () => {
  test("set, list, remove", async () => {
    expect(await run("secret", "list")).toMatchObject({
      exit: 0,
      out: expect.stringContaining("no secrets") as string,
    });
    const set = await run(
      "secret",
      "set",
      "TOKEN",
      "--from-file",
      file(`${VALUE}\n`),
      "--label",
      "pool=deploy",
    );
    expect(set).toEqual({
      exit: 0,
      out: "Secret TOKEN is set, for all kinds; agents with pool=deploy.\n",
      err: "",
    });
    const listed = await run("secret", "list");
    expect(listed.out).toMatch(
      /^NAME +FOR +SET\nTOKEN +all kinds; agents with pool=deploy +\d{4}-\d\d-\d\dT\d\d:\d\dZ\n$/,
    );
    const json = JSON.parse((await run("secret", "list", "--json")).out) as { secrets: object[] };
    expect(json.secrets).toMatchObject([{ name: "TOKEN", labels: { pool: "deploy" }, readable: true }]);
    const wider = await run("secret", "set", "TOKEN", "--from-file", file(VALUE), "--unlimited", "--json");
    expect(JSON.parse(wider.out)).toMatchObject({ name: "TOKEN", labels: {}, kinds: [] });
    expect(await run("secret", "remove", "TOKEN")).toMatchObject({
      exit: 0,
      out: "Secret TOKEN is removed.\n",
    });
    expect((await run("secret", "remove", "TOKEN")).err).toContain('a secret "TOKEN"');
  });

  test.each<[string, string[], string]>([
    ["a name that is none", ["A-B"], "CLI_BAD_VALUE"],
    ["a value on the command line", ["TOKEN", VALUE], "CLI_UNEXPECTED_ARGUMENT"],
    ["a kind there is not", ["TOKEN", "--kind", "test.walk"], "CLI_BAD_VALUE"],
    ["a label without a value", ["TOKEN", "--label", "pool"], "CLI_BAD_VALUE"],
    ["limits and none", ["TOKEN", "--kind", "test.run", "--unlimited"], "CLI_BAD_VALUE"],
    ["no such file", ["TOKEN", "--from-file", "/nonexistent/value"], "CLI_INPUT_UNREADABLE"],
  ])("%s is told", async (_, words, code) => {
    const { exit, out, err } = await run("secret", "set", ...words, "--json");
    expect(exit).not.toBe(0);
    expect(`${out}${err}`).toContain(code);
  });

  test.each<[string, string | Uint8Array, string]>([
    ["too short", "12345\n", "SECRET_UNSUITABLE"],
    ["too long", "s3cr3t".repeat(LIMITS.SECRET_BYTES / 4), "CLI_INPUT_UNREADABLE"],
    ["no text", new Uint8Array([0xff, 0x73, 0x33, 0x63, 0x72, 0x33, 0x74]), "CLI_INPUT_UNREADABLE"],
    ["with NUL", "s3cr3t\0s3cr3t", "SECRET_UNSUITABLE"],
    ["empty", "", "SECRET_UNSUITABLE"],
  ])("a value that is %s is told, and not repeated", async (_, value, code) => {
    const { exit, out, err } = await run("secret", "set", "TOKEN", "--from-file", file(value), "--json");
    expect(exit).not.toBe(0);
    expect(`${out}${err}`).toContain(code);
    expect(`${out}${err}`).not.toContain("s3cr3t");
    expect(`${out}${err}`).not.toContain("12345");
  });

  test("a line break at the end of one line is no part of a value; those of several lines are", () => {
    const text = (value: string) => secretText(new TextEncoder().encode(value), "here");
    expect(text("value\n")).toBe("value");
    expect(text("value\r\n")).toBe("value");
    expect(text("value\n\n")).toBe("value\n\n");
    expect(text("a\nb\n")).toBe("a\nb\n");
    expect(text(" value ")).toBe(" value ");
    expect(text("\ufeffvalue")).toBe("\ufeffvalue");
  });

  test("from standard input, without being asked for", async () => {
    const child = Bun.spawn(
      [
        process.execPath,
        "src/control.ts",
        "secret",
        "set",
        "PIPED",
        "--data-dir",
        control.running().paths.root,
      ],
      { cwd: ROOT, env: {}, stdin: new Blob([`${VALUE}\n`]), stdout: "pipe", stderr: "pipe" },
    );
    const [out, err, exit] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    expect({ exit, err }).toEqual({ exit: 0, err: "" });
    expect(out).toBe("Secret PIPED is set, for all kinds; all agents.\n");
    const list = (await (await control.api("GET", SECRETS_API.secrets)).json()) as { secrets: object[] };
    expect(list.secrets).toMatchObject([{ name: "PIPED", readable: true }]);
  });
});
