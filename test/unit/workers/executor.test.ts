// Goal: a `test.run` job ends with the verdict its command earned, says why in words a person can use, and leaves
// neither process nor file behind.
// Method: the real executor on this thread, real bubblewrap, scripts that do each thing a test command can do.

import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MessageChannel } from "node:worker_threads";
import execute from "../../../workers/executor.ts";
import { processesWith, tempDir } from "../sandbox/sandbox-bench.ts";
import { runJob, shell, taskOf } from "./job-bench.ts";

const TAP_OK = "printf 'TAP version 13\\nok 1 - a\\nok 2 - b\\n1..2\\n'";
const TAP_BAD = "printf 'TAP version 13\\nok 1 - a\\nnot ok 2 - b\\n  ---\\n  error: boom\\n  ...\\n1..2\\n'";

describe("verdicts", () => {
  test("tests that pass", async () => {
    const { report, steps, workDir, log } = await shell(TAP_OK);
    expect(report).toMatchObject({
      end: "succeeded",
      reason: "tests_passed",
      detail: null,
      stop_cause: null,
      survivors: 0,
      result: {
        kind: "test.run",
        format: "tap",
        exit_code: 0,
        commit: null,
        totals: { tests: 2, passed: 2, failed: 0, skipped: 0 },
        failing: [],
        steps: [{ name: "test", exit_code: 0, end: "exited" }],
      },
    });
    expect(report.result?.tail).toBeUndefined();
    expect(report.layers).toContain("netns");
    expect(steps).toEqual(["test"]);
    expect(workDir).toBe("");
    expect(log).toStartWith("==> test: sh -c ");
    expect(log).toContain("\nTAP version 13\nok 1 - a\n");
    expect(report.log.sha256).toBe(createHash("sha256").update(log).digest("hex") as never);
    expect(report.log.size).toBe(log.length);
  });

  test("tests that fail are named, with their message and the end of the log", async () => {
    const { report } = await shell(`${TAP_BAD}; echo on stderr >&2; exit 1`);
    expect(report).toMatchObject({ end: "failed", reason: "tests_failed" });
    expect(report.result).toMatchObject({
      totals: { tests: 2, passed: 1, failed: 1 },
      failing: [{ name: "b", status: "failed", message: "boom" }],
      tests: [{ name: "a" }, { name: "b" }],
      exit_code: 1,
    });
    expect(report.result?.tail).toContain("not ok 2 - b");
    expect(report.result?.tail).toContain("on stderr");
  });

  test.each([
    [`${TAP_OK}; exit 1`, "report_contradicts_exit"],
    [TAP_BAD, "report_contradicts_exit"],
    ["printf 'ok 1\\n1..2\\n'", "report_contradicts_exit"],
    ["printf 'TAP version 13\\n1..0\\n'", "no_tests_reported"],
    ["exit 3", "exit_nonzero"],
    ["kill -9 $$", "killed_by_signal"],
    [`${TAP_OK}; kill -11 $$`, "killed_by_signal"],
  ])("%s: %s", async (script, reason) => {
    const { report } = await shell(script);
    expect(report).toMatchObject({ end: "failed", reason });
    expect(report.detail).not.toBeNull();
  });

  test("lines on standard error are not the report", async () => {
    const { report } = await shell("printf '1..1\\nnot ok 1 - fake\\n' >&2; printf '1..1\\nok 1 - real\\n'");
    expect(report).toMatchObject({ reason: "tests_passed", result: { totals: { tests: 1, failed: 0 } } });
  });

  test("no report at all: the exit status decides", async () => {
    const { report } = await shell("echo hello");
    expect(report).toMatchObject({
      end: "succeeded",
      reason: "exit_zero",
      result: { format: "exit", totals: null },
    });
  });

  test("TAP that was asked for and did not come", async () => {
    const { report } = await shell("echo hello", { payload: { report: { format: "tap" } } });
    expect(report).toMatchObject({ end: "failed", reason: "no_tests_reported" });
  });

  test("a program that is not there", async () => {
    const { report, log } = await runJob({ payload: { run: ["no-such-runner", "--x"] } });
    expect(report).toMatchObject({ end: "failed", reason: "exit_nonzero", result: { exit_code: 127 } });
    expect(report.detail).toContain("no-such-runner --x cannot be started: No such file or directory");
    expect(log).toContain("==> test did not start: No such file or directory");
  });
});

describe("set-up", () => {
  test("steps run in order before the test, in the same workspace and home, with the job's environment", async () => {
    const { report, log, steps } = await runJob({
      payload: {
        setup: [
          ["sh", "-c", 'echo "$GREETING" > made; echo h > ~/kept'],
          ["cat", "made"],
        ],
        run: ["sh", "-c", 'cat made ~/kept; test "$GREETING" = hello; pwd'],
        env: { GREETING: "hello" },
      },
    });
    expect(report).toMatchObject({ end: "succeeded", reason: "exit_zero" });
    expect(steps).toEqual(["setup 1", "setup 2", "test"]);
    expect(report.result?.steps.map(({ name, command }) => [name, command])).toEqual([
      ["setup 1", `sh -c 'echo "$GREETING" > made; echo h > ~/kept'`],
      ["setup 2", "cat made"],
      ["test", `sh -c 'cat made ~/kept; test "$GREETING" = hello; pwd'`],
    ]);
    expect(log).toContain("hello\nh\n/work\n");
  });

  test("the first that fails ends the job and is named", async () => {
    const { report, steps } = await runJob({
      payload: {
        setup: [["true"], ["sh", "-c", "echo no such package >&2; exit 4"], ["true"]],
        run: ["true"],
      },
    });
    expect(report).toMatchObject({ end: "failed", reason: "setup_failed", result: { exit_code: null } });
    expect(report.detail).toContain("exit 4");
    expect(report.detail).toContain("ended with status 4: no such package");
    expect(steps).toEqual(["setup 1", "setup 2"]);
  });
});

describe("ends that are not the job's own", () => {
  test("a stop with time to tidy up", async () => {
    const { report, ms } = await shell('trap "echo tidied; exit 0" TERM; sleep 20 & wait', {
      stop: { afterMs: 100, cause: "order_cancel", graceMs: 5_000 },
    });
    expect(report).toMatchObject({
      end: "stopped",
      reason: "order_cancel",
      stop_cause: "order_cancel",
      survivors: 0,
    });
    expect(report.result?.steps).toMatchObject([{ end: "stopped", exit_code: 0 }]);
    expect(report.result?.tail).toContain("tidied");
    expect(ms).toBeLessThan(2_000);
  });

  test("a deadline on a job that ignores everything and has daemons", async () => {
    const mark = `mark-${crypto.randomUUID()}`;
    const daemon = `(setsid sh -c 'trap "" TERM HUP INT; while :; do sleep 0.1; done # ${mark}' &)`;
    const { report, ms } = await shell(
      `trap "" TERM; ${daemon}; ${TAP_OK}; while :; do sleep 0.1; done # ${mark}`,
      {
        stop: { afterMs: 200, cause: "deadline", graceMs: 300 },
      },
    );
    expect(report).toMatchObject({
      end: "stopped",
      reason: "deadline",
      stop_cause: "deadline",
      survivors: 0,
    });
    expect(report.result).toMatchObject({
      steps: [{ end: "deadline", exit_code: null }],
      totals: { tests: 2 },
    });
    expect(ms).toBeLessThan(2_500);
    expect(processesWith(mark)).toEqual([]);
  });

  test("the worker's own deadline, when nobody says stop", async () => {
    const { report, ms } = await shell("sleep 30", { limits: { timeout_s: 1 } });
    expect(report).toMatchObject({ end: "stopped", stop_cause: "deadline" });
    expect(ms).toBeGreaterThan(1_000);
    expect(ms).toBeLessThan(5_000);
  });

  test("a stop between steps starts nothing more", async () => {
    const { report, log } = await runJob({
      payload: { setup: [["sh", "-c", 'trap "exit 0" TERM; sleep 20 & wait']], run: ["echo", "ran"] },
      stop: { afterMs: 100, cause: "host_stopping", graceMs: 5_000 },
    });
    expect(report).toMatchObject({ end: "stopped", reason: "host_stopping" });
    expect(log).not.toContain("\nran\n");
  });

  test("output beyond the limit", async () => {
    const { report, log } = await runJob({
      payload: { run: ["yes", "endless"] },
      limits: { output_bytes: 100_000 },
    });
    expect(report).toMatchObject({ end: "failed", reason: "output_limit", survivors: 0 });
    expect(report.detail).toBe("the output reached 100000 bytes");
    expect(report.log.size).toBe(log.length);
    expect(log.length).toBeLessThan(100_500);
    expect(log).toContain("==> test was ended after");
  });

  test("no bwrap: nothing ran", async () => {
    const { report } = await shell("touch ran", { task: { bwrapPath: "/nonexistent/bwrap" } });
    expect(report).toMatchObject({
      end: "sandbox_failed",
      reason: "sandbox_setup_failed",
      result: { exit_code: null },
    });
    expect(report.detail).toContain("ENOENT");
  });

  test("a log that exists already, a kind or payload nobody knows, a work directory in use", async () => {
    using dir = tempDir();
    const path = join(dir.path, "taken");
    writeFileSync(path, "");
    const taken = await shell("true", { task: { logPath: path } });
    expect(taken.report).toMatchObject({ end: "failed", reason: "workspace_unusable", log: { size: 0 } });
    const kind = await shell("true", { task: { kind: "plan.draft" } });
    expect(kind.report).toMatchObject({ end: "failed", reason: "input_unavailable" });
    const payload = await runJob({ payload: { run: [] } });
    expect(payload.report).toMatchObject({ end: "failed", reason: "input_unavailable" });
    expect(payload.report.detail).toContain("payload.run");

    mkdirSync(join(dir.path, "job"));
    const task = taskOf(join(dir.path, "job"), {});
    mkdirSync(join(task.workDir, "workspace"));
    const { port1, port2 } = new MessageChannel();
    const used = await execute({ ...task, port: port2 });
    port1.close();
    expect(used).toMatchObject({ end: "failed", reason: "workspace_unusable" });
  });
});

describe("scope", () => {
  test("read paths can be read and not written, write paths can be both, the rest is not there", async () => {
    using dir = tempDir();
    const [read, write, other] = ["read", "write", "other"].map((name) => join(dir.path, name)) as [
      string,
      string,
      string,
    ];
    for (const path of [read, write, other]) {
      mkdirSync(path);
      writeFileSync(join(path, "file"), "before");
    }
    const script = `cat ${read}/file && echo x > ${write}/file; echo y > ${read}/file; cat ${other}/file; true`;
    const { report, log } = await shell(script, { read: [read], write: [write] });
    expect(report.reason).toBe("exit_zero");
    expect(log).toContain("before");
    expect(log).toContain("Read-only file system");
    expect(log).toContain(`cat: ${other}/file: No such file or directory`);
    expect(readFileSync(join(write, "file"), "utf8")).toBe("x\n");
    expect(readFileSync(join(read, "file"), "utf8")).toBe("before");
  });

  test("a path that is gone by now ends the job before anything runs", async () => {
    const { report, log } = await shell("echo ran", { read: ["/srv/no/such/place"] });
    expect(report).toMatchObject({ end: "failed", reason: "input_unavailable", layers: [], survivors: 0 });
    expect(report.detail).toContain("/srv/no/such/place");
    expect(log).toBe("");
  });
});

test("a trivial command writes its first byte soon after the executor starts", async () => {
  await shell("true"); // loads everything there is to load
  const times: number[] = [];
  for (let i = 0; i < 5; i++) {
    const start = Date.now();
    const { log } = await shell("date +%s%N");
    times.push(Number(/^\d{19}$/m.exec(log)?.[0] ?? 0) / 1e6 - start);
  }
  expect(Math.min(...times)).toBeLessThan(60);
});
