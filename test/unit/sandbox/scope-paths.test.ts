// Goal: a host path is opened only by its real name, only as a file or directory, and only when nothing in it is a door
// to a process outside.
// Method: real trees with links, sockets and FIFOs; the control is the same tree without them.

import { describe, expect, test } from "bun:test";
import { fstatSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { isFault } from "../../../src/fault/fault.ts";
import { openScopePaths } from "../../../src/sandbox/scope-paths.ts";
import { openDescriptors, tempDir } from "./sandbox-bench.ts";

/** Why a list of read paths is refused, or "opened". */
async function refusal(...read: string[]): Promise<string> {
  try {
    using paths = await openScopePaths({ read, write: [] });
    return paths.binds.length === read.length ? "opened" : "narrowed";
  } catch (error) {
    if (!isFault(error, "SCOPE_PATH_MISSING")) throw error;
    return error.message;
  }
}

describe("openScopePaths", () => {
  test("opens files and directories, workspace entries aside, each path once, write before read", async () => {
    using dir = tempDir();
    const [a, b] = [join(dir.path, "a"), join(dir.path, "b")];
    mkdirSync(a);
    writeFileSync(b, "");
    const before = openDescriptors();
    const paths = await openScopePaths({ read: ["./", a, b, b], write: ["./", a] });
    expect(paths.binds.map(({ to, writable }) => [to, writable])).toEqual([
      [b, false],
      [a, true],
    ]);
    for (const { fd } of paths.binds) expect(fstatSync(fd).ino).toBeGreaterThan(0);
    paths[Symbol.dispose]();
    expect(openDescriptors()).toBe(before);
  });

  test("a path that is not there", async () => {
    using dir = tempDir();
    expect(await refusal(join(dir.path, "nothing"))).toContain("it does not exist");
  });

  test("a link, and a link on the way", async () => {
    using dir = tempDir();
    mkdirSync(join(dir.path, "real/inner"), { recursive: true });
    symlinkSync(join(dir.path, "real"), join(dir.path, "link"));
    expect(await refusal(join(dir.path, "real/inner"))).toBe("opened");
    expect(await refusal(join(dir.path, "link"))).toContain("it is a symbolic link");
    expect(await refusal(join(dir.path, "link/inner"))).toContain(join(dir.path, "real/inner"));
  });

  test("a socket or FIFO, itself or anywhere below", async () => {
    using dir = tempDir();
    const deep = join(dir.path, "a/b/c");
    mkdirSync(deep, { recursive: true });
    symlinkSync("/dev/null", join(deep, "link"));
    expect(await refusal(dir.path)).toBe("opened");

    const fifo = join(deep, "fifo");
    expect(Bun.spawnSync(["/usr/bin/mkfifo", fifo], { env: {} }).exitCode).toBe(0);
    expect(await refusal(dir.path)).toContain(`socket or FIFO, "${fifo}"`);
    expect(await refusal(fifo)).toContain("neither a file nor a directory");
    rmSync(fifo);

    const path = join(deep, "s");
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    expect(await refusal(dir.path)).toContain(`socket or FIFO, "${path}"`);
    await new Promise((resolve) => server.close(resolve));
    expect(await refusal(dir.path)).toBe("opened");
  });

  test("a refusal closes what was opened before it", async () => {
    using dir = tempDir();
    const before = openDescriptors();
    expect(await refusal(dir.path, join(dir.path, "nothing"))).toContain("does not exist");
    expect(openDescriptors()).toBe(before);
  });

  test("the descriptor keeps what was checked when the name goes elsewhere", async () => {
    using dir = tempDir();
    const given = join(dir.path, "given");
    mkdirSync(given);
    using paths = await openScopePaths({ read: [given], write: [] });
    const inode = fstatSync(paths.binds[0]?.fd ?? -1).ino;
    renameSync(given, join(dir.path, "moved"));
    symlinkSync("/etc", given);
    expect(fstatSync(paths.binds[0]?.fd ?? -1).ino).toBe(inode);
  });
});
