// Goal: a command inside sees what its view shows and nothing else, ends when it is told to, and leaves nothing behind.
// Method: real bubblewrap; every denial has beside it the same deed where it is allowed.

import { describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { openOwnPath } from "../../../src/sandbox/scope-paths.ts";
import { openDescriptors, processesWith, run, sh, tempDir, view } from "./sandbox-bench.ts";

/** A pair of stop signals and what fires them. */
function stopper() {
  const term = new AbortController();
  const kill = new AbortController();
  return { term, kill, stop: { term: term.signal, kill: kill.signal } };
}

const mark = () => `mark-${crypto.randomUUID()}`;

describe("what comes out", () => {
  test("both streams, apart and in order of arrival; /dev/stderr can be opened again", async () => {
    const ran = await sh(
      "echo one; sleep 0.05; echo two > /dev/stderr; sleep 0.05; echo three > /dev/stdout",
    );
    expect(ran).toMatchObject({ end: "exited", exit_code: 0, stdout: "one\nthree\n", stderr: "two\n" });
    expect(ran.both).toBe("one\ntwo\nthree\n");
  });

  test("the exit status, and the signal a command died of", async () => {
    expect(await sh("exit 7")).toMatchObject({ end: "exited", exit_code: 7, signal: null, survivors: 0 });
    expect(await sh("kill -SEGV $$")).toMatchObject({ end: "signalled", signal: "SIGSEGV", exit_code: 139 });
  });

  test("a program that is not there, or is none, did not start", async () => {
    expect(await run(["no-such-program", "x: y"])).toMatchObject({
      end: "exited",
      exit_code: 127,
      why: "No such file or directory",
    });
    expect(await run(["/etc/passwd"])).toMatchObject({ exit_code: 126, why: "Permission denied" });
    expect(await run(["/work"])).toMatchObject({ exit_code: 126, why: "Permission denied" });
  });

  test("CPU time and memory of the command and all it started", async () => {
    const work = "i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done";
    const ran = await sh(
      `(${work}) & (${work}) & wait; head -c 50000000 /dev/zero | tail -c 50000000 >/dev/null`,
    );
    expect(ran.usage?.cpu_ms).toBeGreaterThan(50);
    expect(ran.usage?.max_rss_bytes).toBeGreaterThan(40_000_000);
    expect(ran.usage?.max_rss_bytes).toBeLessThan(500_000_000);
  });
});

describe("when the sandbox cannot be built, the command has not run", () => {
  test("no bwrap", async () => {
    const ran = await run(["true"], { bwrapPath: "/nonexistent/bwrap" });
    expect(ran).toMatchObject({ end: "sandbox_failed", exit_code: null, survivors: 0 });
    expect(ran.why).toContain("ENOENT");
  });

  test("a mount without a place", async () => {
    using dir = tempDir();
    const fd = openOwnPath(dir.path);
    try {
      const workspace = openOwnPath(dir.path);
      const ran = await sh("touch /work/ran", {
        view: view({ workspace, binds: [{ fd, to: "/usr/no/such/place", writable: false }] }),
      });
      closeSync(workspace);
      expect(ran).toMatchObject({ end: "sandbox_failed", exit_code: null, survivors: 0 });
      expect(ran.why).toContain("/usr/no/such/place");
      expect(readdirSync(dir.path)).toEqual([]);
    } finally {
      closeSync(fd);
    }
  });

  test("a bwrap that is something else", async () => {
    const ran = await run(["true"], { bwrapPath: "/bin/false" });
    expect(ran).toMatchObject({ end: "sandbox_failed", why: "bwrap ended with status 1 and said nothing" });
  });
});

describe("what is inside", () => {
  test("an environment made from nothing", async () => {
    const canary = mark();
    process.env["AGENT_CANARY"] = canary;
    try {
      const ran = await sh("env; cat /proc/1/environ", { view: view({ env: { GIVEN: "a b=c" } }) });
      const names = ran.stdout
        .trim()
        .split("\n")
        .map((line) => line.split("=")[0] ?? "");
      const base = ["CI", "GIVEN", "HOME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "TMPDIR", "USER"];
      expect(names.toSorted()).toEqual(base);
      expect(ran.both).not.toContain(canary);
      expect(ran.stdout).toContain("GIVEN=a b=c\n");
    } finally {
      delete process.env["AGENT_CANARY"];
    }
  });

  test("no descriptor but the three, no capability, no new privileges, no host argument", async () => {
    const ran = await sh(
      "ls /proc/self/fd; grep -E '^(Cap|NoNewPrivs)' /proc/self/status; tr '\\0' ' ' < /proc/1/cmdline; id -u",
      { view: view({ env: { HOST_SECRET_PATH: "/srv/x" } }) },
    );
    const lines = ran.stdout.split("\n");
    expect(lines.slice(0, 4)).toEqual(["0", "1", "2", "3"]); // 3 is the listing itself
    expect(ran.stdout).toContain("NoNewPrivs:\t1");
    expect(ran.stdout.match(/^Cap\w+:\t0000000000000000$/gm)).toHaveLength(5);
    expect(ran.stdout).not.toContain("HOST_SECRET_PATH");
    expect(ran.stdout).toContain("1000");
  });

  test("the host's files are not there; /usr is, read-only", async () => {
    using dir = tempDir();
    const secret = join(dir.path, "secret");
    writeFileSync(secret, "host secret");
    const ran = await sh(
      `cat ${secret} /etc/shadow /root/.bashrc; ls /usr/bin/env; touch /usr/x /x /etc/x /dev/x`,
    );
    expect(ran.stdout).toBe("/usr/bin/env\n");
    for (const path of [secret, "/etc/shadow", "/root/.bashrc"]) expect(ran.stderr).toContain(path);
    expect(ran.stderr.match(/Read-only file system/g)).toHaveLength(4);
    expect(readFileSync(secret, "utf8")).toBe("host secret");
  });

  test("writing: inside the workspace yes, a read path no, a write path yes", async () => {
    using dir = tempDir();
    for (const name of ["work", "read", "write"]) mkdirSync(join(dir.path, name));
    const fds = ["work", "read", "write"].map((name) => openOwnPath(join(dir.path, name)));
    const [workspace = -1, read = -1, write = -1] = fds;
    const ran = await sh("echo w > /work/a; echo r > /srv/read/a; echo o > /srv/write/a", {
      view: view({
        workspace,
        binds: [
          { fd: read, to: "/srv/read", writable: false },
          { fd: write, to: "/srv/write", writable: true },
        ],
      }),
    });
    for (const fd of fds) closeSync(fd);
    expect(ran.stderr).toContain("Read-only file system");
    expect(readFileSync(join(dir.path, "work/a"), "utf8")).toBe("w\n");
    expect(readdirSync(join(dir.path, "read"))).toEqual([]);
    expect(readFileSync(join(dir.path, "write/a"), "utf8")).toBe("o\n");
  });

  test("no network: neither the host's loopback nor its abstract sockets", async () => {
    const server = createServer((socket) => socket.end("hello"));
    const port = await new Promise<number>((resolve) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address();
        resolve(address !== null && typeof address === "object" ? address.port : 0);
      });
    });
    const connect = `exec 3<>/dev/tcp/127.0.0.1/${port} && cat <&3`;
    try {
      const outside = Bun.spawn(["/bin/bash", "-c", connect], { env: {}, stdout: "pipe", stderr: "ignore" });
      expect(await new Response(outside.stdout).text()).toBe("hello");
      const inside = await run(["bash", "-c", connect]);
      expect(inside).toMatchObject({ end: "exited", exit_code: 1, stdout: "" });
      const devices = await sh("cat /proc/net/dev | tail -n +3 | cut -d: -f1; cat /proc/net/unix | wc -l");
      expect(devices.stdout.split(/\s+/).filter(Boolean)).toEqual(["lo", "1"]);
    } finally {
      server.close();
    }
  });

  test("no new user namespace, no mount, no signal to the first process", async () => {
    const ran = await sh("unshare -U true; unshare -m true; kill -9 1; echo alive");
    expect(ran.stdout).toBe("alive\n");
    expect(ran.stderr).toContain("unshare");
  });

  test("memory-backed directories and files have a size", async () => {
    const ran = await sh("head -c 20000000 /dev/zero > /tmp/a; stat -c %s /tmp/a; ulimit -c", {
      view: view({ scratchBytes: 1_048_576 }),
    });
    expect(ran.stderr).toContain("No space left");
    expect(ran.stdout).toBe("1048576\n0\n");
    using dir = tempDir();
    const workspace = openOwnPath(dir.path);
    const sparse = await run(["truncate", "-s", "10M", "/work/big"], {
      view: view({ workspace }),
      fileBytesMax: 1_048_576,
    });
    closeSync(workspace);
    expect(sparse.exit_code).not.toBe(0);
  });
});

describe("how it ends", () => {
  test("SIGTERM reaches the command, which may tidy up", async () => {
    const { term, stop } = stopper();
    setTimeout(() => term.abort(), 100);
    const ran = await sh('trap "echo tidy; exit 3" TERM; sleep 20 & wait', { stop });
    expect(ran).toMatchObject({ end: "stopped", exit_code: 3, stdout: "tidy\n", survivors: 0 });
  });

  test("what ignores SIGTERM dies of the kill, with all it has started, and what it used is counted", async () => {
    const { term, kill, stop } = stopper();
    const name = mark();
    setTimeout(() => term.abort(), 100);
    setTimeout(() => kill.abort(), 400);
    const daemon = `(setsid sh -c 'trap "" TERM HUP; while :; do sleep 0.05; done # ${name}' &)`;
    const ran = await sh(`trap "" TERM; ${daemon}; while :; do :; done # ${name}`, { stop });
    expect(ran).toMatchObject({ end: "stopped", exit_code: null, survivors: 0 });
    expect(ran.usage?.cpu_ms).toBeGreaterThan(100);
    expect(processesWith(name)).toEqual([]);
  });

  test("a daemon does not outlive its command", async () => {
    const name = mark();
    const daemon = `(setsid sh -c 'trap "" TERM HUP; sleep 30; : ${name}' &)`;
    // The control: while the command runs, the daemon is there.
    const seen = sh(`${daemon}; sleep 0.5`);
    await Bun.sleep(250);
    expect(processesWith(name).length).toBeGreaterThan(0);
    expect(await seen).toMatchObject({ end: "exited", exit_code: 0, survivors: 0 });
    expect(processesWith(name)).toEqual([]);
  });

  test.each([0, 1, 2, 3, 4, 6])("a kill %d ms after the start leaves nothing", async (ms) => {
    const { kill, stop } = stopper();
    const name = mark();
    setTimeout(() => kill.abort(), ms);
    const ran = await sh(`sleep 30; : ${name}`, { stop });
    expect(ran).toMatchObject({ end: "stopped", survivors: 0 });
    expect(processesWith(name)).toEqual([]);
  });

  test("bwrap killed from outside while the command ran is a killed command, not one that never started", async () => {
    const ran = await run(["sh", "-c", "echo begun; sleep 30"], {
      onOutput: () => {
        const found = Bun.spawnSync([
          "/usr/bin/pgrep",
          "-P",
          String(process.pid),
          "-x",
          "bwrap",
        ]).stdout.toString();
        for (const pid of found.split("\n")) if (pid !== "") process.kill(Number(pid), "SIGKILL");
        return true;
      },
    });
    expect(ran).toMatchObject({ end: "signalled", signal: "SIGKILL", survivors: 0 });
  });

  test("one that was stopped before does not start", async () => {
    const { term, stop } = stopper();
    term.abort();
    expect(await sh("echo ran", { stop })).toMatchObject({ end: "stopped", stdout: "", survivors: 0 });
  });

  test("a flood is cut where the reader says so", async () => {
    let bytes = 0;
    const ran = await run(["yes"], {
      onOutput: (_stream, chunk) => {
        bytes += chunk.length;
        return bytes < 10_000_000;
      },
    });
    expect(ran).toMatchObject({ end: "output_limit", survivors: 0 });
    expect(bytes).toBeLessThan(11_000_000);
  });

  test("a flood does not keep a stop from being heard", async () => {
    const { kill, stop } = stopper();
    setTimeout(() => kill.abort(), 200);
    const ran = await run(["yes"], { stop, onOutput: () => true });
    expect(ran.end).toBe("stopped");
  });

  test("an error of the reader comes out when the sandbox is gone", async () => {
    const name = mark();
    const running = sh(`while :; do echo x; done # ${name}`, {
      onOutput: () => {
        throw new Error("reader broke");
      },
    });
    await expect(running).rejects.toThrow("reader broke");
    expect(processesWith(name)).toEqual([]);
  });

  test("a hundred runs leave no descriptor and no child", async () => {
    const before = openDescriptors();
    const children = () =>
      readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ").filter(Boolean);
    const others = new Set(children()); // of test files that ran in this process before
    for (let i = 0; i < 25; i++) await Promise.all([0, 1, 2, 3].map(() => run(["true"])));
    // Bun closes its own copy of a pipe's end a moment after the end of file.
    for (let tries = 0; tries < 100 && openDescriptors() > before; tries++) await Bun.sleep(10);
    expect(openDescriptors()).toBeLessThanOrEqual(before);
    expect(children().filter((pid) => !others.has(pid))).toEqual([]);
  });

  test("a killed parent takes everything with it", async () => {
    using dir = tempDir();
    const name = mark();
    const script = join(dir.path, "parent.ts");
    const bench = join(import.meta.dir, "sandbox-bench.ts");
    writeFileSync(
      script,
      `import { sh } from "${bench}";\nawait sh("setsid sh -c 'sleep 30; : ${name}' & sleep 30; : ${name}");\n`,
    );
    const parent = Bun.spawn([process.execPath, script], { env: {}, stdio: ["ignore", "ignore", "inherit"] });
    // bwrap, its first process, the shell and the daemon: with fewer the command may still wait at the gate.
    for (let tries = 0; tries < 200 && processesWith(name).length < 4; tries++) await Bun.sleep(10);
    expect(processesWith(name).length).toBeGreaterThanOrEqual(4);
    parent.kill("SIGKILL");
    await parent.exited;
    for (let tries = 0; tries < 100 && processesWith(name).length > 0; tries++) await Bun.sleep(10);
    expect(processesWith(name)).toEqual([]);
  });
});

test("a directory swapped for a link after it was opened shows what was opened", async () => {
  using dir = tempDir();
  const given = join(dir.path, "given");
  const secret = join(dir.path, "secret");
  mkdirSync(given);
  mkdirSync(secret);
  writeFileSync(join(given, "name"), "given");
  writeFileSync(join(secret, "name"), "secret");
  const fd = openOwnPath(given);
  renameSync(given, join(dir.path, "moved"));
  symlinkSync(secret, given);
  const ran = await sh("cat /srv/given/name", {
    view: view({ binds: [{ fd, to: "/srv/given", writable: false }] }),
  });
  closeSync(fd);
  expect(ran.stdout).toBe("given");
  // The control: by its name the secret is what one gets.
  const named = openSync(join(given, "name"), "r");
  expect(readFileSync(named, "utf8")).toBe("secret");
  closeSync(named);
  expect(existsSync(join(dir.path, "moved"))).toBe(true);
});
