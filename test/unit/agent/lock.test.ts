// Goal: one agent on one state directory, told by pid; a dead holder holds nothing; asking never disturbs.
// Method: real processes, one of them killed with SIGKILL.

import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { lockHeld, takeLock } from "../../../src/agent/lock.ts";
import { isFault } from "../../../src/fault/fault.ts";
import { scratchDirectory } from "../../support/scratch.ts";

const dir = scratchDirectory("lock");
afterAll(() => rmSync(dir, { recursive: true, force: true }));
let locks = 0;
const fresh = () => join(dir, `${++locks}.lock`);

function start(what: "hold" | "ask" | "take", path: string, arg = "0") {
  const script = join(import.meta.dir, "lock-holder.ts");
  const env = { PATH: "/usr/bin:/bin", HOME: dir };
  const child = Bun.spawn([process.execPath, script, what, path, arg], {
    env,
    stdout: "pipe",
    stderr: "inherit",
  });
  const lines = readLines(child.stdout);
  return { child, line: async () => (await lines.next()).value ?? "" };
}

async function* readLines(stream: ReadableStream<Uint8Array>) {
  let rest = "";
  for await (const chunk of stream) {
    rest += Buffer.from(chunk).toString();
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      yield rest.slice(0, end);
      rest = rest.slice(end + 1);
    }
  }
}

const codeOf = (take: () => Disposable): Record<string, unknown> | null => {
  try {
    take()[Symbol.dispose]();
    return null;
  } catch (error) {
    if (isFault(error)) return { code: error.code, ...error.params };
    throw error;
  }
};

describe("the lock of a state directory", () => {
  test("is held once, names its holder's pid, and is free the moment he is killed, whatever he left running", async () => {
    const path = fresh();
    const { child, line } = start("hold", path, "30");
    const [, pid, left] = (await line()).split(" ");
    try {
      expect(lockHeld(path)).toBe(true);
      expect(codeOf(() => takeLock(path, dir))).toEqual({
        code: "STATE_LOCKED",
        path: dir,
        pid: String(child.pid),
      });
      expect(pid).toBe(String(child.pid));
      process.kill(child.pid, "SIGKILL");
      await child.exited;
      expect(lockHeld(path)).toBe(false);
      using _ = takeLock(path, dir);
      expect(lockHeld(path)).toBe(true);
      expect(await Bun.file(`${path}.pid`).text()).toBe(`${process.pid}\n`);
    } finally {
      process.kill(Number(left), "SIGKILL");
    }
  });

  test("let go of, it is free", () => {
    const path = fresh();
    takeLock(path, dir)[Symbol.dispose]();
    expect(lockHeld(path)).toBe(false);
    takeLock(path, dir)[Symbol.dispose]();
  });

  test("of a pid that runs but does not hold it is free", () => {
    const path = fresh();
    writeFileSync(path, "");
    writeFileSync(`${path}.pid`, "1\n");
    expect(lockHeld(path)).toBe(false);
    expect(codeOf(() => takeLock(path, dir))).toBeNull();
  });

  test("that cannot be noted is not taken either", () => {
    const path = fresh();
    rmSync(`${path}.pid`, { force: true });
    const blocked = join(dir, `${locks}.lock.pid.tmp`);
    Bun.spawnSync(["/bin/mkdir", "-p", join(blocked, "full")], { env: {} });
    expect(codeOf(() => takeLock(path, dir))?.["code"]).toBe("STATE_DIR_UNWRITABLE");
    rmSync(blocked, { recursive: true });
    expect(codeOf(() => takeLock(path, dir))).toBeNull();
  });

  test("in a place that is not there is a fault that says so", () => {
    expect(codeOf(() => takeLock(join(dir, "nowhere", "x.lock"), dir))?.["code"]).toBe(
      "STATE_DIR_UNWRITABLE",
    );
  });
});

describe("asking for it", () => {
  test("makes nothing where there is nothing", () => {
    const path = fresh();
    expect(lockHeld(path)).toBe(false);
    expect(existsSync(path)).toBe(false);
  });

  test("two who ask without pause do not take each other for an agent, and an agent starts all the same", async () => {
    const path = fresh();
    takeLock(path, dir)[Symbol.dispose]();
    const askers = [start("ask", path, "400"), start("ask", path, "400")];
    await Promise.all(askers.map(({ line }) => line()));
    const takers = [start("take", path), start("take", path)];
    expect(await Promise.all(takers.map(({ line }) => line()))).toEqual(["taken", "taken"]);
    for (const { line } of askers) {
      const { asked } = JSON.parse(await line()) as { asked: number };
      expect(asked).toBeGreaterThan(20);
    }
  });

  test("finds nobody where nobody is, however many ask", async () => {
    const path = fresh();
    takeLock(path, dir)[Symbol.dispose]();
    const askers = [start("ask", path, "300"), start("ask", path, "300")];
    for (const { line } of askers) {
      await line();
      expect(JSON.parse(await line())).toMatchObject({ held: 0 });
    }
  });
});
