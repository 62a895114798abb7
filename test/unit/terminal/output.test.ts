// Goal: what is written arrives whole or is told not to have, and a gone reader is no error.
// Method: real processes that write a megabyte into pipes that are slow, closed or full; no shell in between.

import { describe, expect, test } from "bun:test";
import { openSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { jsonLine } from "../../../src/terminal/output.ts";
import { ROOT } from "../../support/source-files.ts";

const MODULE = JSON.stringify(join(ROOT, "src/terminal/output.ts"));
const WRITER = `
  const { processTerminal, OutputGone } = await import(${MODULE});
  const terminal = processTerminal({});
  try {
    for (let i = 0; i < 16; i++) terminal.out("x".repeat(65535) + "\\n");
    terminal.err("whole");
  } catch (error) {
    terminal.err(error instanceof OutputGone ? "gone" : String(error.code));
  }
  process.exit(0);
`;

const spawn = (stdout: "pipe" | number) =>
  Bun.spawn({
    cmd: [process.execPath, "-e", WRITER],
    stdin: "ignore",
    stdout,
    stderr: "pipe",
    env: { PATH: "/usr/bin:/bin" },
  });

describe("standard output", () => {
  test("arrives whole however slowly it is read", async () => {
    const child = spawn("pipe");
    if (typeof child.stdout === "number" || child.stdout === undefined) throw new Error("no pipe");
    let bytes = 0;
    for await (const chunk of child.stdout) {
      bytes += chunk.length;
      await Bun.sleep(1);
    }
    expect(bytes).toBe(16 * 65536);
    expect(await new Response(child.stderr).text()).toBe("whole");
  });

  test("with nobody reading is OutputGone", async () => {
    const child = spawn("pipe");
    if (typeof child.stdout === "number" || child.stdout === undefined) throw new Error("no pipe");
    const reader = child.stdout.getReader();
    await reader.read();
    await reader.cancel();
    expect(await new Response(child.stderr).text()).toBe("gone");
  });

  test("on a full disk is CLI_OUTPUT_CLOSED", async () => {
    const child = spawn(openSync("/dev/full", "w"));
    expect(await new Response(child.stderr).text()).toBe("CLI_OUTPUT_CLOSED");
  });
});

describe("a short answer", () => {
  const say = (stdout: "pipe" | number) =>
    Bun.spawn({
      cmd: [
        process.execPath,
        "-e",
        `const { processTerminal, OutputGone } = await import(${MODULE});
         const terminal = processTerminal({});
         await Bun.stdin.text();
         try { await terminal.say("one\\n"); terminal.out("two\\n"); await terminal.say("three\\n"); terminal.err("whole"); }
         catch (error) { terminal.err(error instanceof OutputGone ? "gone" : String(error.code)); }
         process.exit(0);`,
      ],
      stdin: "pipe",
      stdout,
      stderr: "pipe",
      env: { PATH: "/usr/bin:/bin" },
    });

  test("keeps its place among the others", async () => {
    const child = say("pipe");
    await child.stdin.end();
    expect(await new Response(child.stdout as ReadableStream).text()).toBe("one\ntwo\nthree\n");
    expect(await new Response(child.stderr).text()).toBe("whole");
  });

  test("with nobody reading is OutputGone, on a full disk CLI_OUTPUT_CLOSED", async () => {
    const child = say("pipe");
    await (child.stdout as ReadableStream).cancel();
    await child.stdin.end();
    expect(await new Response(child.stderr).text()).toBe("gone");
    const full = say(openSync("/dev/full", "w"));
    await full.stdin.end();
    expect(await new Response(full.stderr).text()).toBe("CLI_OUTPUT_CLOSED");
  });
});

test("a JSON line is one line that no terminal acts on and every reader reads back", () => {
  expect(jsonLine({ a: "\u001b\u009b\u202e\u2028é" })).toBe('{"a":"\\u001b\\u009b\\u202e\\u2028é"}\n');
  fc.assert(
    fc.property(fc.jsonValue({ stringUnit: "binary" }), (value) => {
      const line = jsonLine(value);
      expect(line.slice(0, -1)).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
      expect(JSON.parse(line)).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});
