// Goal: a report file is read when it is a regular file of this run inside the workspace, and otherwise said not to be.
// Method: jobs that leave reports of every kind a job can leave: honest, stale, huge, links, FIFOs, sockets, broken XML.

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestRunPayloadSchema } from "../../../src/protocol/job.ts";
import { parseValue } from "../../../src/protocol/json.ts";
import { tempDir } from "../sandbox/sandbox-bench.ts";
import { makeRepository, runJob, shell } from "./job-bench.ts";

const OK = '<testsuite><testcase name="a" time="0.5"/><testcase name="b"/></testsuite>';
const BAD =
  '<testsuite><testcase name="a"/><testcase name="b"><failure message="boom"/></testcase></testsuite>';
const junit = { report: { format: "junit", path: "out/r.xml" } };
const leaves = (script: string, report: Record<string, unknown> = junit.report) =>
  shell(`mkdir out; ${script}`, { payload: { report } });

describe("a JUnit report", () => {
  test("that passes, by its format or found by auto", async () => {
    for (const format of ["junit", "auto"]) {
      const { report } = await leaves(`echo '${OK}' > out/r.xml`, { format, path: "out/r.xml" });
      expect(report).toMatchObject({
        end: "succeeded",
        reason: "tests_passed",
        result: {
          format: "junit",
          totals: { tests: 2, passed: 2 },
          tests: [{ name: "a", ms: 500 }, { name: "b" }],
        },
      });
    }
  });

  test("that fails, and one that lies", async () => {
    const failing = await leaves(`echo '${BAD}' > out/r.xml; exit 1`);
    expect(failing.report).toMatchObject({
      reason: "tests_failed",
      result: { failing: [{ name: "b", message: "boom" }] },
    });
    expect((await leaves(`echo '${OK}' > out/r.xml; exit 1`)).report.reason).toBe("report_contradicts_exit");
    expect((await leaves(`echo '${BAD}' > out/r.xml`)).report.reason).toBe("report_contradicts_exit");
  });

  test("that was never written", async () => {
    const { report } = await leaves("true");
    expect(report).toMatchObject({
      end: "failed",
      reason: "no_tests_reported",
      detail: '"out/r.xml" was not written',
    });
  });

  test("that was there before the run does not count, one written over it does", async () => {
    using dir = tempDir();
    const repo = join(dir.path, "repo");
    const commit = makeRepository(repo, { "r.xml": OK });
    const source = { type: "git", url: `file://${repo}`, commit };
    const report = { format: "junit", path: "r.xml" };
    const stale = await runJob({ read: [repo], payload: { source, report, run: ["true"] } });
    expect(stale.report).toMatchObject({ end: "failed", reason: "no_tests_reported" });
    expect(stale.report.detail).toContain("was there before the run");
    const touched = `cp -p r.xml x && cat x > r.xml && touch -r x r.xml`;
    const fresh = await runJob({ read: [repo], payload: { source, report, run: ["sh", "-c", touched] } });
    expect(fresh.report).toMatchObject({ reason: "tests_passed" });
  });

  test("whose name was not given", () => {
    const job = { source: { type: "empty" }, run: ["true"], report: { format: "junit" } };
    expect(parseValue(job, TestRunPayloadSchema)).toMatchObject({ ok: false, path: "report" });
  });
});

test("TAP in a file", async () => {
  const report = { format: "tap", path: "out/r.tap" };
  const good = await leaves("printf '1..1\\nok 1 - a\\n' > out/r.tap", report);
  expect(good.report).toMatchObject({ reason: "tests_passed", result: { format: "tap" } });
  expect((await leaves("echo hi > out/r.tap", report)).report.reason).toBe("report_unreadable");
});

describe("what is not a report", () => {
  const secret = '<testsuite><testcase name="HOST SECRET"/></testsuite>';

  test.each([
    ["a link to a file of the host", "ln -s SECRET out/r.xml"],
    ["a link to a file of the workspace", `echo '${OK}' > real.xml; ln -s ../real.xml out/r.xml`],
    ["a directory that is a link to the host", "rmdir out; ln -s SECRETDIR out"],
    ["a FIFO", "mkfifo out/r.xml"],
    ["a directory", "mkdir out/r.xml"],
    ["a file beyond the limit", "truncate -s 20M out/r.xml"],
    ["a file nobody may read", `echo '${OK}' > out/r.xml; chmod 000 out/r.xml`],
    ["half a document", "echo '<testsuite><testcase name=' > out/r.xml"],
    ["a document type", `echo '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>${OK}' > out/r.xml`],
    ["bytes that are no text", "head -c 100000 /dev/urandom > out/r.xml"],
  ])("%s", async (what, script) => {
    using dir = tempDir();
    const path = join(dir.path, "r.xml");
    writeFileSync(path, secret);
    const filled = script.replace("SECRETDIR", dir.path).replace("SECRET", path);
    const { report } = await leaves(filled);
    if (what.startsWith("a file nobody") && process.getuid?.() === 0) return; // root reads it all the same
    expect(report).toMatchObject({ end: "failed", reason: "report_unreadable" });
    expect(JSON.stringify(report.result)).not.toContain("HOST SECRET");
  });
});
