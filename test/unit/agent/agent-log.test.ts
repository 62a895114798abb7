// Goal: every event is one line of JSON on disk and one line for a person; a disk that takes no lines costs lines, nothing
// else, and how many is told.
// Method: the real log on real files, and where a disk must be full, a view with a small one.

import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AgentLog, consoleLine, type LogEvent, logLine } from "../../../src/agent/agent-log.ts";

function fresh() {
  const dir = mkdtempSync(join(tmpdir(), "agentina-log-"));
  const echoed: LogEvent[] = [];
  let now = 1_768_478_400_000;
  const open = () =>
    new AgentLog(
      join(dir, "log"),
      () => now++,
      (event) => echoed.push(event),
    );
  const path = join(dir, "log", "agent.log");
  const lines = () => readFileSync(path, "utf8").trimEnd().split("\n");
  return {
    dir,
    path,
    open,
    echoed,
    lines,
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}

describe("a line", () => {
  test("is one, whatever its values hold, in the file and at the console", () => {
    const event: LogEvent = {
      at: 1_768_478_400_000,
      level: "warn",
      event: "beat.failed",
      fields: { why: 'two\nlines "and" \u001b[31mred\u202e', n: 3, none: null, ok: false },
    };
    expect(logLine(event).split("\n")).toHaveLength(2);
    expect(JSON.parse(logLine(event))).toEqual({
      time: "2026-01-15T12:00:00.000Z",
      level: "warn",
      event: "beat.failed",
      ...event.fields,
    });
    const shown = consoleLine(event);
    expect(shown.split("\n")).toHaveLength(2);
    for (const raw of ["\u001b", "\u202e"]) expect(shown).not.toContain(raw);
    expect(shown).toStartWith("12:00:00  ! beat.failed  why=");
  });
});

describe("the log", () => {
  test("appends over restarts, to files the group may read and nobody may write", () => {
    using log = fresh();
    for (const event of ["one", "two"]) {
      const opened = log.open();
      opened.write("info", event);
      opened.close();
    }
    expect(log.lines().map((line) => (JSON.parse(line) as { event: string }).event)).toEqual(["one", "two"]);
    expect(statSync(log.path).mode & 0o777 & ~0o640).toBe(0);
    expect(statSync(join(log.dir, "log")).mode & 0o777 & ~0o750).toBe(0);
  });

  test("in whose place something else lies goes to the console, and tells the gap when it can write again", () => {
    using log = fresh();
    mkdirSync(join(log.dir, "log"), { mode: 0o750 });
    symlinkSync(join(log.dir, "elsewhere"), log.path);
    const opened = log.open();
    for (let i = 0; i < 5; i++) opened.write("info", `lost.${i}`);
    expect(log.echoed.filter(({ event }) => event === "log.unwritable")).toHaveLength(1);
    expect(log.echoed.filter(({ event }) => event.startsWith("lost"))).toHaveLength(5);
    rmSync(log.path);
    opened.write("info", "back");
    opened.close();
    const [gap, back] = log.lines().map((line) => JSON.parse(line) as { event: string; lines?: number });
    expect([gap, back]).toMatchObject([{ event: "log.lost", lines: 5 }, { event: "back" }]);
  });

  test("on a disk that fills up in the middle of a line leaves no two lines grown together", () => {
    const script = join(import.meta.dir, "log-on-small-disk.ts");
    const view = ["/usr/bin/bwrap", "--dev-bind", "/", "/", "--size", "12288", "--tmpfs", "/mnt", "--"];
    const { stdout, exitCode } = Bun.spawnSync([...view, process.execPath, script], {
      env: { PATH: "/usr/bin:/bin" },
      stderr: "inherit",
    });
    expect(exitCode).toBe(0);
    const lines = stdout.toString().trimEnd().split("\n");
    const whole = lines.filter((line) => line.endsWith("}"));
    expect(lines.length - whole.length).toBeLessThanOrEqual(1);
    const events = whole.map((line) => JSON.parse(line) as { event: string; n?: number; lines?: number });
    const written = events.filter(({ event }) => event === "work.done").length;
    const lost = events.find(({ event }) => event === "log.lost")?.lines ?? 0;
    expect(lost).toBeGreaterThan(10);
    expect(written + lost).toBe(200);
    expect(events.at(-1)?.event).toBe("disk.freed");
  });
});
