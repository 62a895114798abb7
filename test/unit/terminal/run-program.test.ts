// Goal: from argv to exit status every way ends once, told in the form that was asked for.
// Method: run a small program on a terminal that remembers, and read what it says and answers.

import { describe, expect, test } from "bun:test";
import { fault } from "../../../src/fault/fault.ts";
import { OutputGone } from "../../../src/terminal/output.ts";
import { runProgram, tell } from "../../../src/terminal/run-program.ts";
import { demoProgram, inputOf, recorder } from "./fixture-program.ts";

describe("help", () => {
  test("of the program lists its commands in 80 columns, loads none and names no absent one", async () => {
    const loaded: string[] = [];
    const terminal = recorder();
    expect(await runProgram(demoProgram(loaded), inputOf(["--help"], terminal))).toBe(0);
    expect(loaded).toEqual([]);
    const { out } = terminal.written;
    for (const part of [
      "Usage: demo COMMAND [OPTIONS]",
      "echo",
      "online",
      "job",
      "Examples:",
      "sysexits(3)",
    ]) {
      expect(out).toContain(part);
    }
    expect(out).not.toContain("upgrade");
    expect(Math.max(...out.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  test("of a command shows options with defaults, examples and its own exit statuses, and loads only it", async () => {
    const loaded: string[] = [];
    const terminal = recorder();
    expect(await runProgram(demoProgram(loaded), inputOf(["echo", "--nonsense", "-h"], terminal))).toBe(64);
    expect(await runProgram(demoProgram(loaded), inputOf(["echo", "a", "b", "c", "-h"], terminal))).toBe(0);
    expect(loaded).toEqual(["echo", "echo"]);
    const { out } = terminal.written;
    for (const part of [
      "Usage: demo echo [OPTIONS] WORD [OTHER]",
      "--name NAME",
      "(default: nobody)",
      "--label K=V",
      "(may be repeated)",
      "--mode fast|slow",
      "demo echo --name x word",
      "1 when it feels like it",
    ]) {
      expect(out).toContain(part);
    }
    expect(Math.max(...out.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  test("of a group, and of a command that needs an option", async () => {
    const group = recorder();
    expect(await runProgram(demoProgram(), inputOf(["job", "-h"], group))).toBe(0);
    expect(group.written.out).toContain("Usage: demo job COMMAND [OPTIONS]");
    const online = recorder();
    expect(await runProgram(demoProgram(), inputOf(["online", "--help"], online))).toBe(0);
    expect(online.written.out).toContain("Usage: demo online --url URL [OPTIONS]");
    expect(online.written.out).toContain("(required)");
  });

  test("is an argument like any other after --", async () => {
    const terminal = recorder();
    expect(await runProgram(demoProgram(), inputOf(["echo", "--", "--help"], terminal))).toBe(0);
    expect(JSON.parse(terminal.written.out).word).toBe("--help");
  });
});

test("--version is one line", async () => {
  const terminal = recorder();
  expect(await runProgram(demoProgram(), inputOf(["--version"], terminal))).toBe(0);
  expect(terminal.written.out).toBe("demo 1.2.3\n");
});

test("a command's status is the program's", async () => {
  expect(await runProgram(demoProgram(), inputOf(["online", "--url", "x"], recorder()))).toBe(1);
});

describe("a failure", () => {
  test("is one block on standard error", async () => {
    const terminal = recorder();
    await runProgram(demoProgram(), inputOf(["echo"], terminal));
    expect(terminal.written.err).toBe(
      'demo: Cannot run "demo echo": WORD is missing\n' +
        '  Remedy: Run "demo echo --help" for what it takes\n' +
        "  Code:   CLI_MISSING_ARGUMENT (exit status 64)\n",
    );
  });

  test.each([[["echo", "--json"]], [["echo", "--json", "--json", "w"]], [["ehco", "--json"]], [["--json"]]])(
    "of %p is one JSON object on standard output, the guard's own too",
    async (argv) => {
      const terminal = recorder();
      const status = await runProgram(demoProgram(), inputOf(argv, terminal));
      expect(terminal.written.err).toBe("");
      expect(terminal.written.out.trim().split("\n")).toHaveLength(1);
      const told = JSON.parse(terminal.written.out);
      expect(Object.keys(told)).toEqual(["ok", "error"]);
      expect(told.ok).toBe(false);
      expect(Object.keys(told.error)).toEqual(["code", "message", "remedy", "exit"]);
      expect(told.error.exit).toBe(status);
    },
  );

  test("is not JSON because of a --json that is a word", async () => {
    const terminal = recorder();
    await runProgram(demoProgram(), inputOf(["echo", "a", "b", "--", "--json"], terminal));
    expect(terminal.written.out).toBe("");
    expect(terminal.written.err).toContain("CLI_UNEXPECTED_ARGUMENT");
  });

  test("nobody foresaw is a defect: status 70, what was thrown and where, nothing raw", async () => {
    const terminal = recorder();
    expect(await runProgram(demoProgram(), inputOf(["broken"], terminal))).toBe(70);
    expect(terminal.written.err).toContain("INTERNAL_ERROR");
    expect(terminal.written.err).toContain("fixture-program.ts");
    expect(terminal.written.err).not.toContain("\u001b");
    const json = recorder();
    expect(await runProgram(demoProgram(), inputOf(["broken", "--json"], json))).toBe(70);
    expect(JSON.parse(json.written.out).error.code).toBe("INTERNAL_ERROR");
  });
});

describe("output that cannot be written", () => {
  test("ends quietly when its reader has gone", async () => {
    const terminal = recorder();
    const gone = { ...terminal, out: () => expect.unreachable() };
    gone.out = () => {
      throw new OutputGone("closed");
    };
    expect(await runProgram(demoProgram(), inputOf(["echo", "w"], gone))).toBe(0);
    expect(terminal.written.err).toBe("");
  });

  test("is told on standard error when the disk is full, also for JSON", async () => {
    const terminal = recorder();
    const full = {
      ...terminal,
      out: () => {
        throw fault("CLI_OUTPUT_CLOSED", { why: "ENOSPC" });
      },
    };
    expect(await runProgram(demoProgram(), inputOf(["echo", "w", "--json"], full))).toBe(73);
    expect(terminal.written.err).toContain("CLI_OUTPUT_CLOSED");
  });

  test("does not hide a failure that was to be JSON", () => {
    const terminal = recorder();
    const gone = {
      ...terminal,
      out: () => {
        throw new OutputGone("closed");
      },
    };
    expect(tell(demoProgram(), inputOf(["echo", "--json"], gone), fault("LEASE_NOT_HELD"))).toBe(65);
  });
});
