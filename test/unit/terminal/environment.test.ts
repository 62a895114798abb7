// Goal: no variable of the environment changes what code runs or whom the program trusts.
// Method: each variable alone, set and empty; the program is asked for something harmless and must say no.

import { describe, expect, test } from "bun:test";
import { isFault } from "../../../src/fault/fault.ts";
import {
  dropProxies,
  refuseForeignTrust,
  refuseHostileRuntime,
  requireHardening,
} from "../../../src/terminal/environment.ts";
import { runProgram } from "../../../src/terminal/run-program.ts";
import { demoProgram, inputOf, recorder } from "./fixture-program.ts";

const RUNTIME = [
  "BUN_OPTIONS",
  "BUN_INSPECT",
  "BUN_INSPECT_CONNECT_TO",
  "BUN_INSPECT_NOTIFY",
  "BUN_INSPECT_PRELOAD",
  "BUN_CONFIG_VERBOSE_FETCH",
  "BUN_JSC_dumpOptions",
];
const TRUST = [
  "NODE_TLS_REJECT_UNAUTHORIZED",
  "NODE_EXTRA_CA_CERTS",
  "NODE_USE_SYSTEM_CA",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
];

describe("the environment", () => {
  test.each(RUNTIME)("%s stops every command, set or empty", async (variable) => {
    for (const value of ["1", ""]) {
      const terminal = recorder();
      const status = await runProgram(demoProgram(), inputOf(["--version"], terminal, { [variable]: value }));
      expect(status).toBe(78);
      expect(terminal.written.err).toContain(`the environment sets ${variable}:`);
      expect(terminal.written.err).toContain(`env -u ${variable} …`);
      expect(terminal.written.out).toBe("");
    }
  });

  test.each(TRUST)("%s stops what may speak TLS, and nothing else", async (variable) => {
    const env = { [variable]: "1" };
    expect(await runProgram(demoProgram(), inputOf(["online", "--url", "x"], recorder(), env))).toBe(78);
    expect(await runProgram(demoProgram(), inputOf(["online", "--help"], recorder(), env))).toBe(0);
    expect(await runProgram(demoProgram(), inputOf(["echo", "w"], recorder(), env))).toBe(0);
    expect(() => refuseForeignTrust("https://control.example.com/", env)).toThrow(variable);
    expect(() => refuseForeignTrust("nonsense", env)).toThrow(variable);
    expect(() => refuseForeignTrust(null, env)).toThrow(variable);
    expect(() => refuseForeignTrust("http://127.0.0.1:8080/", env)).not.toThrow();
  });

  test("all that is wrong is named at once", () => {
    try {
      refuseForeignTrust(null, { SSL_CERT_FILE: "a", SSL_CERT_DIR: "b", PATH: "/bin" });
      expect.unreachable();
    } catch (error) {
      expect(isFault(error, "CLI_HOSTILE_ENVIRONMENT") && error.params).toEqual({
        variables: "SSL_CERT_DIR, SSL_CERT_FILE",
        unset: "-u SSL_CERT_DIR -u SSL_CERT_FILE",
      });
    }
  });

  test("what the compiled runtime ignores is no reason to stop", () => {
    const env = { NODE_OPTIONS: "--require ./x.cjs", PATH: "/bin", HOME: "/", BUN_INSTALL: "/opt/bun" };
    expect(() => refuseHostileRuntime(env)).not.toThrow();
    expect(() => refuseForeignTrust(null, env)).not.toThrow();
  });

  test("proxies are gone before a command runs", async () => {
    const env: Record<string, string> = {
      HTTPS_PROXY: "a",
      http_proxy: "b",
      No_Proxy: "c",
      ALL_PROXY: "d",
      PATH: "e",
    };
    await runProgram(demoProgram(), inputOf(["--version"], recorder(), env));
    expect(env).toEqual({ PATH: "e" });
    const untouched = { MY_HTTP_PROXY: "x" };
    dropProxies(untouched);
    expect(untouched).toEqual({ MY_HTTP_PROXY: "x" });
  });
});

test("a compiled binary without its hardening flag does not start", async () => {
  const flag = "--disallow-code-generation-from-strings=strict";
  expect(() => requireHardening(true, ["--no-addons"])).toThrow(flag);
  expect(() => requireHardening(true, [flag, "--no-addons"])).not.toThrow();
  expect(() => requireHardening(false, [])).not.toThrow();
  const terminal = recorder();
  const status = await runProgram(demoProgram(), { ...inputOf(["--version"], terminal), compiled: true });
  expect(status).toBe(78);
  expect(terminal.written.err).toContain("CLI_NOT_HARDENED");
});
