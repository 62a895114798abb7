// Goal: whoever watches sees everything in order, and can neither stop the agent nor fill its memory.
// Method: a stream that takes, that stalls and that breaks; and a real pipe nobody reads.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { consoleEcho, type EchoStream } from "../../../src/cli/console-echo.ts";
import { ROOT } from "../../support/source-files.ts";

/** A stream that hands text on when `flush` is called. */
function slowStream() {
  const taken: string[] = [];
  const waiting: (() => void)[] = [];
  const listeners: ((error: Error) => void)[] = [];
  const stream: EchoStream = {
    write: (text, done) => {
      waiting.push(() => {
        taken.push(text);
        done();
      });
    },
    on: (_, listener) => listeners.push(listener),
  };
  const flush = () => {
    for (const step of waiting.splice(0)) step();
  };
  return {
    stream,
    taken,
    flush,
    breakIt: () => {
      for (const listener of listeners) listener(new Error("EPIPE"));
    },
  };
}

test("lines arrive in order, and settling waits for the last", async () => {
  const { stream, taken, flush } = slowStream();
  const echo = consoleEcho(stream);
  echo.write("one\n");
  echo.write("two\n");
  const settled = echo.settle(10_000);
  setTimeout(flush, 5);
  await settled;
  expect(taken).toEqual(["one\n", "two\n"]);
  await echo.settle(10_000);
});

test("a stalled watcher costs lines, which are counted, never memory or time", async () => {
  const { stream, taken, flush } = slowStream();
  const echo = consoleEcho(stream);
  const line = `${"x".repeat(999)}\n`;
  for (let i = 0; i < 1000; i++) echo.write(line);
  await echo.settle(30);
  flush();
  expect(taken).toHaveLength(262);
  echo.write("back\n");
  flush();
  expect(taken.slice(262)).toEqual(["(738 lines not shown; the log file has them)\n", "back\n"]);
});

test("a watcher that has gone is no error", async () => {
  const { stream, taken, flush, breakIt } = slowStream();
  const echo = consoleEcho(stream);
  echo.write("one\n");
  breakIt();
  echo.write("two\n");
  await echo.settle(10_000);
  flush();
  expect(taken).toEqual(["one\n"]);
});

test("a real pipe that nobody reads does not hold the process", async () => {
  const code = `
    import { consoleEcho } from ${JSON.stringify(join(ROOT, "src/cli/console-echo.ts"))};
    const echo = consoleEcho(process.stdout);
    for (let i = 0; i < 500; i++) { echo.write("x".repeat(2000) + "\\n"); if (i % 100 === 0) await Bun.sleep(1); }
    await echo.settle(50);
    process.stderr.write("done");
    process.exit(0);`;
  const child = Bun.spawn({
    cmd: [process.execPath, "-e", code],
    stdout: "pipe",
    stderr: "pipe",
    env: { PATH: "/usr/bin:/bin" },
  });
  expect(await new Response(child.stderr).text()).toBe("done");
  expect(await child.exited).toBe(0);
});
