// Goal: a person sees first what is wrong and what to do, then what is; nothing on the screen acts on the terminal.
// Method: whole screens of reports made by hand, one with everything and hostile text in it, one with nothing.

import { describe, expect, test } from "bun:test";
import { age, type StatusReport, statusScreen } from "../../../src/cli/status-screen.ts";

const NOW = Date.UTC(2025, 5, 1, 12);
const EMPTY: StatusReport = {
  state: "inactive",
  running: false,
  findings: [],
  terminal: null,
  quarantine: null,
  hold: null,
  seal: null,
  version: "1.2.3",
  agent_id: null,
  control_plane_url: null,
  activated_at: null,
  license: null,
  slot: null,
  fingerprint: null,
  last_heartbeat: null,
  last_failure: null,
  in_flight: [],
  undelivered_receipts: 0,
  last_outcomes: [],
  policy: null,
  host: { sandbox: false, layers: [], limits: "weak", kinds: [] },
  bundle: { verdict: "verified", why: null },
};
const FULL: StatusReport = {
  ...EMPTY,
  state: "working",
  running: true,
  findings: [{ code: "POLICY_MISSING", message: "Cannot run any job: \u001b[2Jhidden", remedy: "Write one" }],
  agent_id: "agt_x",
  control_plane_url: "https://control.example.com/",
  activated_at: NOW - 9e8,
  license: {
    id: "lic_x",
    plan: "team",
    standing: "valid",
    expires_at: NOW + 864e5,
    max_agents: 1,
    max_concurrent_tasks_per_agent: 4,
    kinds: ["test.run"],
  },
  slot: { held: false, position: 2, max_agents: 1 },
  seal: { ctr: 3, whole: true, findings: [] },
  fingerprint: {
    ...{ id: "fp_x", components: ["machine_id", "macs"], unknown: ["tpm_ek"], verdict: "drift", score: 0.66 },
    ...{ rule: null, changed: ["macs"], lost: [], enriched: [] },
  },
  last_heartbeat: { at: NOW - 12_000, latency_ms: 34, state: "idle", standing: "live" },
  last_failure: { at: NOW - 200_000, code: "WIRE_TIMEOUT", why: "slow" },
  in_flight: [{ job: "job_x", attempt: 2, state: "running", kind: "test.run", step: "run" }],
  undelivered_receipts: 3,
  last_outcomes: [
    { job: "job_w", attempt: 1, outcome: "failed", reason: "tests_failed", finished_at: NOW - 1000 },
    { job: "job_v", attempt: 1, outcome: null, reason: null, finished_at: null },
  ],
  policy: { path: "/home/me/policy.toml", sha256: "a", owner: "self" },
  host: { sandbox: true, layers: ["bwrap", "netns"], limits: "weak", kinds: ["test.run"] },
  bundle: { verdict: "development", why: null },
};

describe("the screen", () => {
  test("of a host that is nothing yet", () => {
    expect(statusScreen(EMPTY, NOW, false)).toBe(
      [
        "  State    inactive (no agent is running)",
        "  Policy   none in force: no job runs",
        "  Sandbox  cannot be made here: no job runs",
        "  Version  1.2.3",
        "  Bundle   verified",
        "",
      ].join("\n"),
    );
  });

  test("of an agent at work, with what is wrong on top", () => {
    const screen = statusScreen(FULL, NOW, false);
    expect(screen.split("\n")).toEqual([
      "! POLICY_MISSING: Cannot run any job: \\u001b[2Jhidden",
      "  Write one",
      "",
      "  State          working",
      "  Agent          agt_x",
      "  Control Plane  https://control.example.com/",
      '  License        valid, plan "team", until 2025-06-02T12:00:00Z',
      "  Allows         1 agent, 4 jobs at once on each: test.run",
      "  Slot           waiting, number 2 in the queue",
      "  Fingerprint    fp_x, drift: macs differ, 66 % of machine_id, macs; not readable: tpm_ek",
      "  Seal           whole, number 3",
      "  Heartbeat      12 s ago, answered in 34 ms",
      "  Last failure   3 min ago: WIRE_TIMEOUT (slow)",
      "  Receipts       3 not delivered yet",
      "  Policy         /home/me/policy.toml (self-owned)",
      "  Sandbox        bwrap, netns; limits weak (no cgroup)",
      "  Version        1.2.3",
      "  Bundle         development",
      "",
      "Jobs",
      "  job_x  test.run, attempt 2, running: run",
      "",
      "Last outcomes",
      "  job_w  failed (tests_failed), attempt 1, 2025-06-01T11:59:59Z",
      "  job_v  unknown (no reason), attempt 1",
      "",
    ]);
  });

  test("says in the state's own line why it is what it is", () => {
    const line = (over: Partial<StatusReport>) =>
      statusScreen({ ...FULL, findings: [], ...over }, NOW, false).split("\n")[0];
    const since = NOW - 1000;
    expect(line({ state: "terminal", terminal: { reason: "sold", since } })).toBe(
      "  State          terminal: sold",
    );
    const quarantine = { code: "STATE_QUARANTINED", reason: "two of them", since, epoch: 1 };
    expect(line({ state: "quarantined", quarantine })).toBe("  State          quarantined: two of them");
    const hold = { type: "stop", since, grace_s: 1 } as const;
    expect(line({ state: "paused", hold, running: false })).toBe(
      "  State          paused: told to stop (no agent is running)",
    );
    const findings = [{ code: "SEAL_MODIFIED", name: "license.jwt", what: "modified" }] as const;
    const seal = { ctr: 3, whole: false, findings };
    expect(line({ state: "tampered", seal })).toBe("  State          tampered: license.jwt");
    expect(statusScreen({ ...FULL, seal }, NOW, false)).toContain("  Seal           broken: license.jwt\n");
  });

  test("has colour only where it is wanted", () => {
    expect(statusScreen(FULL, NOW, true)).toContain("\u001b[31m!\u001b[39m \u001b[1mPOLICY_MISSING");
    expect(statusScreen(FULL, NOW, false)).not.toContain("\u001b");
  });
});

test.each([
  [-5000, "0 s"],
  [0, "0 s"],
  [119_999, "119 s"],
  [120_000, "2 min"],
  [7_199_000, "119 min"],
  [7_200_000, "2 h"],
  [172_800_000, "2 days"],
])("%p ms are %s", (ms, text) => {
  expect(age(ms)).toBe(text);
});
