// Goal: the argument list says what the view promises, in an order in which each mount finds its place.
// Method: build lists from data and look at the words; what they do in the kernel is the business of run.test.ts.

import { describe, expect, test } from "bun:test";
import { baseEnvironment, type ViewArg, type ViewSpec, viewArgs } from "../../../src/sandbox/view.ts";

const SPEC: ViewSpec = {
  systemRoots: [
    { path: "/bin", link: "usr/bin" },
    { path: "/lib", link: null },
  ],
  workspace: 10,
  home: null,
  binds: [],
  files: [],
  env: {},
  scratchBytes: 4096,
};

const words = (change: Partial<ViewSpec> = {}): string =>
  viewArgs({ ...SPEC, ...change })
    .map(word)
    .join(" ");
const word = (arg: ViewArg): string =>
  typeof arg === "string" ? arg : "fd" in arg ? `fd:${arg.fd}` : `text:${arg.text.length}`;

describe("viewArgs", () => {
  test.each([
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-net",
    "--unshare-cgroup-try",
    "--disable-userns",
    "--new-session",
    "--die-with-parent",
    "--cap-drop ALL",
    "--clearenv",
    "--hostname job",
    "--uid 1000",
    "--gid 1000",
    "--ro-bind /usr /usr",
    "--remount-ro /dev",
  ])("always holds %s", (part) => {
    expect(` ${words()} `).toContain(` ${part} `);
  });

  test("ends by making the root read-only and entering the workspace", () => {
    expect(words()).toEndWith("--remount-ro / --chdir /work");
  });

  test("a merged system tree is linked, another is bound", () => {
    expect(words()).toContain("--symlink usr/bin /bin --ro-bind /lib /lib");
  });

  test("sets the base environment and the job's, and nothing else", () => {
    const args = viewArgs({ ...SPEC, env: { A: "x y", LANG: "C" } });
    const names = args.flatMap((arg, index) => (args[index - 1] === "--setenv" ? [arg] : []));
    expect(new Set(names)).toEqual(new Set([...Object.keys(baseEnvironment()), "A"]));
    expect(words({ env: { LANG: "C" } })).toContain("--setenv LANG C");
  });

  test("read paths are read-only, write paths are not, outer before inner", () => {
    const binds = [
      { fd: 3, to: "/srv/a/b", writable: true },
      { fd: 4, to: "/srv/a", writable: false },
      { fd: 5, to: "/srv/a/b/c", writable: false },
    ];
    expect(words({ binds })).toContain(
      "--ro-bind-fd fd:4 /srv/a --bind-fd fd:3 /srv/a/b --ro-bind-fd fd:5 /srv/a/b/c",
    );
  });

  test("scope paths come after the scratch mounts they may lie in, and before the workspace", () => {
    const text = words({ binds: [{ fd: 3, to: "/tmp/x", writable: false }] });
    expect(text.indexOf("--tmpfs /tmp")).toBeLessThan(text.indexOf("fd:3 /tmp/x"));
    expect(text.indexOf("fd:3 /tmp/x")).toBeLessThan(text.indexOf("fd:10 /work"));
  });

  test("every memory-backed mount has a size", () => {
    const text = words();
    const mounts = [...text.matchAll(/--tmpfs (\S+)/g)].map(([, place]) => place);
    expect(mounts).toEqual(["/dev/shm", "/tmp", "/home/job"]);
    expect([...text.matchAll(/--size 4096 --tmpfs/g)]).toHaveLength(mounts.length);
  });

  test("a home of the job's own takes the place of the memory-backed one", () => {
    expect(words({ home: 11 })).toContain("--bind-fd fd:11 /home/job");
    expect(words({ home: 11 })).not.toContain("--tmpfs /home/job");
  });
});
