// Goal: nothing is sent and nothing is written before url, labels and token are sound and come from one source each.
// Method: call the command with one thing wrong at a time; a server on loopback that nobody may reach counts requests.

import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { chown, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AGENTINA } from "../../../src/cli/agentina.ts";
import { mintActivationToken } from "../../../src/protocol/activation-token.ts";
import { ROOT } from "../../support/source-files.ts";

/** The compiled program: root's checkout may be closed to the user the command becomes, and it loads as it goes. */
const AGENT = join(ROOT, "dist/agentina");
const NOBODY = 65534;
const AS_ROOT = process.geteuid?.() === 0;
const requests: string[] = [];
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request) => {
    requests.push(request.url);
    return new Response("<html>", { headers: { "content-type": "text/html" } });
  },
});
const url = server.url.href;
const { token } = mintActivationToken("T".repeat(43), (n) => crypto.getRandomValues(new Uint8Array(n)));

let place: string;
let stateDir: string;
beforeEach(async () => {
  requests.length = 0;
  place = await mkdtemp(join(tmpdir(), "agentina-cli-"));
  stateDir = join(place, "state");
  await mkdir(stateDir, { mode: 0o700 });
  // The tests may run as root, the command then becomes this user.
  if (AS_ROOT) for (const path of [place, stateDir]) await chown(path, NOBODY, NOBODY);
});
afterEach(async () => {
  await rm(place, { recursive: true, force: true });
});
afterAll(async () => {
  await server.stop(true);
});

async function activate(argv: readonly string[], stdin: string | null = null) {
  const child = Bun.spawn({
    cmd: [AGENT, "activate", ...argv],
    cwd: "/",
    stdin: stdin === null ? "ignore" : new Blob([stdin]),
    stdout: "pipe",
    stderr: "pipe",
    env: { PATH: "/usr/bin:/bin", AGENTINA_STATE_DIR: stateDir },
  });
  const [out, err, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { out, err, status };
}

const untouched = () => requests.length === 0 && !existsSync(join(stateDir, "keypair"));

describe("activate stops before the network", () => {
  test.each<[string, () => string[], string]>([
    ["without a URL", () => ["--token", token], "CLI_MISSING_ARGUMENT"],
    ["with a URL that is none", () => ["--url", "control", "--token", token], "WIRE_INSECURE_URL"],
    ["with http to somewhere", () => ["--url", "http://192.0.2.1/", "--token", token], "WIRE_INSECURE_URL"],
    ["with credentials in the URL", () => ["--url", "https://u:p@x/", "--token", token], "WIRE_INSECURE_URL"],
    ["with a label without a value", () => ["--url", url, "--token", token, "--label", "x"], "CLI_BAD_VALUE"],
    [
      "with a label twice",
      () => ["--url", url, "--token", token, "--label", "a=1", "--label=a=2"],
      "CLI_BAD_VALUE",
    ],
    ["with two sources", () => ["--url", url, "--token", token, "--token-file", "-"], "CLI_BAD_VALUE"],
    [
      "with a file that is not there",
      () => ["--url", url, "--token-file", "/nonexistent"],
      "CLI_INPUT_UNREADABLE",
    ],
    ["with a directory as file", () => ["--url", url, "--token-file", "/"], "CLI_INPUT_UNREADABLE"],
    ["with an endless file", () => ["--url", url, "--token-file", "/dev/zero"], "CLI_INPUT_UNREADABLE"],
    ["with an empty file", () => ["--url", url, "--token-file", "/dev/null"], "TOKEN_MALFORMED"],
    ["with a mistyped token", () => ["--url", url, "--token", `${token.slice(0, -1)}x`], "TOKEN_MALFORMED"],
    ["with somebody else's token", () => ["--url", url, "--token", "ghp_abc"], "TOKEN_MALFORMED"],
    ["without a token and a terminal", () => ["--url", url], "CLI_MISSING_ARGUMENT"],
  ])("%s", async (_, argv, code) => {
    const { err, status } = await activate(argv());
    expect(err).toContain(`Code:   ${code} (exit status ${status})`);
    expect(untouched()).toBe(true);
    expect(err).not.toContain(token);
  });
});

describe("the token", () => {
  test("comes from a file, or from standard input, without a warning", async () => {
    const file = join(place, "token");
    await writeFile(file, `${token}\n`, { mode: 0o644 });
    for (const [argv, stdin] of [
      [["--url", url, "--token-file", file], null],
      [["--url", url, "--token-file", "-"], `  ${token}\r\n`],
    ] as const) {
      const { err, status } = await activate([...argv], stdin);
      expect(err).toContain("WIRE_NOT_CONTROL_PLANE");
      expect(err).not.toContain("Warning");
      expect(status).toBe(69);
    }
    expect(requests).toHaveLength(2);
  });

  test("on the command line comes with a warning, on standard error, also with --json", async () => {
    const { out, err } = await activate(["--url", url, "--token", token, "--json"]);
    expect(err).toStartWith("Warning: A token on the command line");
    expect(JSON.parse(out).error.code).toBe("WIRE_NOT_CONTROL_PLANE");
    expect(`${out}${err}`).not.toContain(token);
  });

  test("asked for on the terminal is never shown", async () => {
    let seen = "";
    const child = Bun.spawn({
      cmd: [AGENT, "activate", "--url", url],
      cwd: "/",
      env: { PATH: "/usr/bin:/bin", AGENTINA_STATE_DIR: stateDir, NO_COLOR: "1" },
      terminal: {
        cols: 200,
        rows: 24,
        data: (_, bytes) => {
          seen += new TextDecoder().decode(bytes);
        },
      },
    });
    await until(() => seen.includes("(not shown): "));
    // A slip corrected with backspace, and pasted in two pieces.
    child.terminal?.write(`${token.slice(0, 30)}x\u007f`);
    child.terminal?.write(`${token.slice(30)}\r`);
    await child.exited;
    await until(() => seen.includes("exit status"));
    child.terminal?.close();
    expect(seen).toContain("WIRE_NOT_CONTROL_PLANE");
    expect(seen).not.toContain(token.slice(4, 12));
  });

  test("asked for and not given ends with ^C", async () => {
    let seen = "";
    const child = Bun.spawn({
      cmd: [AGENT, "activate", "--url", url],
      cwd: "/",
      env: { PATH: "/usr/bin:/bin", AGENTINA_STATE_DIR: stateDir, NO_COLOR: "1" },
      terminal: {
        cols: 200,
        rows: 24,
        data: (_, bytes) => {
          seen += new TextDecoder().decode(bytes);
        },
      },
    });
    await until(() => seen.includes("(not shown): "));
    child.terminal?.write("act_\u0003");
    expect(await child.exited).toBe(66);
    await until(() => seen.includes("interrupted"));
    child.terminal?.close();
    expect(untouched()).toBe(true);
  });
});

test("root becomes the agent's user, or does nothing", async () => {
  if (!AS_ROOT) return expect(AGENTINA.name).toBe("agentina"); // another user has nothing to give up
  const argv = ["--url", url, "--token", token];
  const missing = await activate([...argv, "--state-dir", join(place, "missing")]);
  expect(missing.err).toContain("ACTIVATE_AS_ROOT");
  expect(existsSync(join(place, "missing"))).toBe(false);
  await chown(stateDir, 0, 0);
  expect((await activate(argv)).err).toContain("ACTIVATE_AS_ROOT");
  expect(untouched()).toBe(true);

  await chown(stateDir, NOBODY, NOBODY);
  const secret = join(place, "roots-own-file");
  await writeFile(secret, token, { mode: 0o600 });
  expect((await activate(["--url", url, "--token-file", secret])).err).toContain("CLI_INPUT_UNREADABLE");
  expect((await activate(argv)).err).toContain("WIRE_NOT_CONTROL_PLANE");
  expect((await Bun.file(join(stateDir, "work")).stat()).uid).toBe(NOBODY);
});

async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !holds(); i++) await Bun.sleep(10);
  expect(holds()).toBe(true);
}
