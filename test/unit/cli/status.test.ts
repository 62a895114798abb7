// Goal: status answers everywhere, reads only, and says with its exit status whether something is wrong.
// Method: call it on directories that are missing, empty, foreign and broken.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AGENTINA } from "../../../src/cli/agentina.ts";
import { runProgram } from "../../../src/terminal/run-program.ts";
import { inputOf, recorder } from "../terminal/fixture-program.ts";

let place: string;
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), "agentina-status-"));
});
afterEach(() => {
  rmSync(place, { recursive: true, force: true });
});

async function status(stateDir: string, policy = join(place, "policy.toml")) {
  const terminal = recorder();
  const argv = ["status", "--json", "--state-dir", stateDir, "--policy", policy];
  const exit = await runProgram(AGENTINA, inputOf(argv, terminal));
  const report = JSON.parse(terminal.written.out);
  return { exit, report, codes: report.findings.map(({ code }: { code: string }) => code) };
}

test("a host that is nothing yet is inactive, with the ways out", async () => {
  const { exit, report, codes } = await status(join(place, "state"));
  expect(exit).toBe(1);
  expect(report).toMatchObject({ state: "inactive", running: false, agent_id: null, policy: null });
  expect(codes).toContain("STATE_DIR_MISSING");
  expect(codes).toContain("POLICY_MISSING");
  expect(codes).toContain("RELEASE_UNVERIFIED");
  expect(report.bundle).toEqual({ verdict: "unverified", why: "it runs from sources" });
  expect(readdirSync(place)).toEqual([]);
});

test("a private empty directory is inactive and stays empty", async () => {
  const stateDir = join(place, "state");
  mkdirSync(stateDir, { mode: 0o700 });
  const { codes } = await status(stateDir);
  expect(codes).toContain("STATE_INACTIVE");
  expect(readdirSync(stateDir)).toEqual([]);
});

test("a directory others may enter, and a file that is broken, are findings", async () => {
  const stateDir = join(place, "state");
  mkdirSync(stateDir, { mode: 0o700 });
  writeFileSync(join(stateDir, "agent.json"), '{"format":1,"format":1}', { mode: 0o600 });
  const broken = await status(stateDir);
  expect(broken.report.state).toBe("tampered");
  expect(broken.codes).toContain("STATE_TAMPERED");
  chmodSync(stateDir, 0o777);
  expect((await status(stateDir)).codes).toContain("STATE_DIR_OPEN");
});

test("a policy is shown with its owner, or told to be unusable", async () => {
  const policy = join(place, "policy.toml");
  writeFileSync(policy, '[kinds]\nallow = ["test.run"]\n[limits]\nweak = "allow"\n', { mode: 0o644 });
  const good = await status(join(place, "state"), policy);
  expect(good.report.policy).toMatchObject({ path: policy, owner: "self" });
  expect(good.codes).not.toContain("POLICY_MISSING");
  expect(good.codes).not.toContain("HOST_LIMITS_WEAK");

  writeFileSync(policy, "[kinds]\nallow = []\n");
  const strict = await status(join(place, "state"), policy);
  const weak = strict.report.host.sandbox && strict.report.host.limits === "weak";
  expect(strict.codes.includes("HOST_LIMITS_WEAK")).toBe(weak);

  writeFileSync(policy, "[kinds]\nallowed = []\n");
  expect((await status(join(place, "state"), policy)).codes).toContain("POLICY_MALFORMED");
  chmodSync(policy, 0o666);
  expect((await status(join(place, "state"), policy)).codes).toContain("POLICY_WRITABLE");
});

test("on the screen it is for a person", async () => {
  const terminal = recorder();
  const argv = ["status", "--state-dir", join(place, "state"), "--policy", join(place, "policy.toml")];
  expect(await runProgram(AGENTINA, inputOf(argv, terminal))).toBe(1);
  expect(terminal.written.out).toStartWith("! STATE_DIR_MISSING: ");
  expect(terminal.written.out).toContain("  State ");
});
