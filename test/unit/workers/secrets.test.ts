// Goal: a step has the secrets its payload names and no other step has them; nothing of them is left in the log, in the
// report, or on a command line.
// Method: the real executor and real bubblewrap, scripts that look for secrets and that say them in every way they can.

import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BWRAP, tempDir } from "../sandbox/sandbox-bench.ts";
import { makeRepository, runJob, shell } from "./job-bench.ts";

const DEPLOY = "dk/live+51H 'q' \"x\" é";
const NPM = "npm_Zx81kQw0pLm2";
const task = { secrets: { DEPLOY, NPM } };
const given = { setup: ["NPM"], run: ["DEPLOY"] };

describe("which step has which", () => {
  test("set-up sees its own, the test its own, and neither the other's", async () => {
    const look =
      'test -n "$NPM" && echo "has" npm; test -n "$DEPLOY" && echo "has" deploy; env | cut -d= -f1 | sort | tr "\\n" " "';
    const { log } = await runJob({
      payload: { setup: [["sh", "-c", look]], run: ["sh", "-c", look], secrets: given },
      task,
    });
    const [setup = "", run = ""] = log.split("==> test:");
    expect(setup).toContain("has npm");
    expect(setup).not.toContain("has deploy");
    expect(setup).not.toContain("DEPLOY ");
    expect(run).toContain("has deploy");
    expect(run).not.toContain("has npm");
    expect(run).not.toContain("NPM ");
  });

  test("its value is what was given, to the byte", async () => {
    const wanted = createHash("sha256").update(DEPLOY).digest("hex");
    const { report } = await shell(`test "$(printf %s "$DEPLOY" | sha256sum | cut -c1-64)" = ${wanted}`, {
      payload: {
        secrets: given,
        run: ["sh", "-c", `test "$(printf %s "$DEPLOY" | sha256sum | cut -c1-64)" = ${wanted}`],
      },
      task,
    });
    expect(report.reason).toBe("exit_zero");
  });

  test("the checkout has none; command lines hold none", async () => {
    using dir = tempDir();
    const commit = makeRepository(join(dir.path, "repo"), { "a.txt": "a\n" });
    const dump = join(dir.path, "dump");
    const bwrap = join(dir.path, "bwrap");
    const script = `#!/bin/sh
for word in "$@"; do printf 'argv %s\\n' "$word" >> ${dump}; done
printf 'begin\\n' >> ${dump}; tr '\\0' '\\n' < /proc/self/fd/$2 >> ${dump}
exec ${BWRAP} "$@"
`;
    writeFileSync(bwrap, script);
    chmodSync(bwrap, 0o755);
    const { report } = await runJob({
      payload: {
        source: { type: "git", url: `file://${join(dir.path, "repo")}`, commit },
        setup: [["true"]],
        run: ["true"],
        secrets: given,
      },
      read: [join(dir.path, "repo")],
      task: { ...task, bwrapPath: bwrap },
    });
    expect(report.reason).toBe("exit_zero");
    const told = readFileSync(dump, "utf8");
    const [, checkout = "", setup = "", run = ""] = told.split("begin\n");
    expect([checkout, setup, run].map((part) => [part.includes(NPM), part.includes(DEPLOY)])).toEqual([
      [false, false],
      [true, false],
      [false, true],
    ]);
    const argv = told.split("\n").filter((line) => line.startsWith("argv "));
    expect(argv.join("\n")).not.toMatch(/npm_Zx81|dk\/live/);
  });
});

describe("what leaves the job", () => {
  const said = [
    'printf "%s\\n" "$DEPLOY"',
    'printf "%s" "$DEPLOY" | base64',
    'printf "x%s" "$DEPLOY" | base64; printf "xy%s" "$DEPLOY" | base64 | tr "+/" "-_"',
    'printf "%s" "$DEPLOY" | od -An -tx1 | tr -d " \\n"; echo',
    `printf "%s" "$DEPLOY" | od -An -tx1 | tr -d "\\n" | sed "s/ /%/g"; echo`,
    "export -p | grep DEPLOY; set | grep ^DEPLOY",
    'printf "%s" "$DEPLOY" | cut -c1-9 | tr -d "\\n"; sleep 0.05; printf "%s" "$DEPLOY" | cut -c10- >&1',
    'printf "%s" "$DEPLOY" >&2',
  ];
  const FORMS = [
    DEPLOY,
    Buffer.from(DEPLOY).toString("base64"),
    Buffer.from(`x${DEPLOY}`).toString("base64").slice(2, -2),
    Buffer.from(`xy${DEPLOY}`).toString("base64url").slice(3, -2),
    Buffer.from(DEPLOY).toString("hex"),
    DEPLOY.replaceAll("'", "'\\''"),
    "dk/live+51H",
  ];

  test("a job that says its secret in every way it can has a clean log and a clean report", async () => {
    const script = `${said.join("\n")}\nexit 3`;
    const { report, log } = await runJob({ payload: { run: ["sh", "-c", script], secrets: given }, task });
    expect(report).toMatchObject({ end: "failed", reason: "exit_nonzero" });
    for (const text of [log, JSON.stringify(report)]) {
      for (const form of FORMS) expect(text).not.toContain(form);
    }
    expect(log.split("[secret DEPLOY]").length).toBeGreaterThan(said.length);
    expect(report.result?.tail).toContain("[secret DEPLOY]");
    expect(report.log.size).toBe(Buffer.byteLength(log));
    expect(report.log.sha256).toBe(createHash("sha256").update(log).digest("hex") as never);
  });

  test("names and messages of tests, wherever they are cut", async () => {
    const far = "y".repeat(490);
    const tap = `printf 'TAP version 13\\nnot ok 1 - %s\\n  ---\\n  error: "got %s"\\n  ...\\nok 2 - ${far}%s\\n1..2\\n'`;
    const script = `${tap} "$NPM" "$NPM" "$NPM"; exit 1`;
    const { report } = await runJob({
      payload: { run: ["sh", "-c", script], secrets: { run: ["NPM", "DEPLOY"] } },
      task,
    });
    expect(report).toMatchObject({ reason: "tests_failed" });
    expect(report.result?.failing).toMatchObject([{ name: "[secret NPM]", message: "got [secret NPM]" }]);
    expect(JSON.stringify(report)).not.toContain("npm_Z");
  });

  test("a report file, whatever its encoding makes of the value", async () => {
    const xml = [
      "import os, html, sys",
      "v = os.environ['DEPLOY']",
      "t = '<testsuite><testcase name=\"' + html.escape(v) + '\"><failure message=\"' + ''.join('&#%d;' % ord(c) for c in v) + '\"/></testcase></testsuite>'",
      "open('r.xml', 'w').write(t)",
      "sys.exit(1)",
    ].join("\n");
    const { report } = await runJob({
      payload: {
        run: ["python3", "-c", xml],
        report: { format: "junit", path: "r.xml" },
        secrets: { run: ["DEPLOY", "NPM"] },
      },
      task,
    });
    expect(report).toMatchObject({ reason: "tests_failed" });
    expect(report.result?.failing).toMatchObject([{ name: "[secret DEPLOY]", message: "[secret DEPLOY]" }]);
  });

  test("commands, and why a program cannot be started", async () => {
    const { report, log } = await runJob({
      payload: { setup: [["echo", NPM, "z".repeat(470), NPM]], run: [`no-${NPM}`], secrets: given },
      task,
    });
    for (const text of [log, JSON.stringify(report)]) expect(text).not.toContain("npm_Z");
    expect(report.detail).toContain("no-[secret NPM] cannot be started");
  });
});
