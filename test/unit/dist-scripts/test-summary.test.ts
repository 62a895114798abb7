// Goal: no run is called green that did not come to its end with every test passed.
// Method: run the real `bun test` on small files that pass, fail, skip, crash, end the process or do not load.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readSummary, summaryLine } from "../../../dist-scripts/test-summary.ts";

const root = mkdtempSync(join(tmpdir(), "agentina-summary-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const PASS = 'test("passes", () => {});';
const SKIP = 'test["skip"]("later", () => {});';
const CASES: readonly [name: string, body: string, line: string][] = [
  ["all pass", `${PASS} test("too", () => {});`, "2 passed, 0 failed"],
  ["one fails", `${PASS} test("fails", () => { throw new Error("no"); });`, "1 passed, 1 failed"],
  ["one is skipped", `${PASS} ${SKIP}`, "1 passed, 0 failed, 1 skipped"],
  ["nothing but skips", SKIP, "0 passed, 1 failed, 1 skipped"],
  ["a test ends the process", `${PASS} test("ends", () => process.exit(0));`, "0 passed, 1 failed"],
  ["the file does not load", 'import "./missing.ts"; test("never", () => {});', "0 passed, 1 failed"],
  [
    "a test kills the process",
    'test("dies", () => process.kill(process.pid, "SIGKILL"));',
    "0 passed, 1 failed",
  ],
  ["there is no test", "", "0 passed, 1 failed"],
];

describe("the closing line when", () => {
  for (const [name, body, line] of CASES) {
    test.each(["", "--parallel=1"])(`${name} %s`, async (flag) => {
      const directory = mkdtempSync(join(root, "case-"));
      await Bun.write(join(directory, "a.test.ts"), `import { test } from "bun:test";\n${body}\n`);
      const child = Bun.spawn({
        cmd: [process.execPath, "test", ...(flag === "" ? [] : [flag])],
        cwd: directory,
        stdout: "ignore",
        stderr: "pipe",
        env: { PATH: "/usr/bin:/bin", HOME: root },
      });
      const output = await child.stderr.text();
      const told = summaryLine(readSummary(output, await child.exited));
      expect(told).toBe(line);
    });
  }

  test("the lines say well but the status does not", () => {
    const output = " 3 pass\n 0 fail\nRan 3 tests across 1 file. [5.00ms]\n";
    expect(summaryLine(readSummary(output, 0))).toBe("3 passed, 0 failed");
    expect(summaryLine(readSummary(output, 1))).toBe("3 passed, 1 failed");
    expect(summaryLine(readSummary(output, 130))).toBe("3 passed, 1 failed");
  });
});
