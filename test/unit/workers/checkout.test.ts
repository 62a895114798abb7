// Goal: the workspace holds exactly the commit that was signed for, from a local repository or a bundle, and nothing a
// source holds runs outside the sandbox, or at all before the job's own commands.
// Method: real repositories, honest and hostile; markers on the host that hostile parts would leave.

import { describe, expect, test } from "bun:test";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { tempDir } from "../sandbox/sandbox-bench.ts";
import { commitFiles, git, makeRepository, runJob } from "./job-bench.ts";

const local = (path: string, commit: string, more: Record<string, unknown> = {}) => ({
  type: "git",
  url: `file://${path}`,
  commit,
  ...more,
});
const LOOK = [
  "sh",
  "-c",
  "git rev-parse HEAD; git status --short --branch; git rev-list --count HEAD; ls -a; cat a",
];

describe("a local repository", () => {
  test("the exact commit is checked out, detached and clean, and the test runs on it", async () => {
    using dir = tempDir();
    const repo = join(dir.path, "repo");
    const first = makeRepository(repo, {
      a: "one\n",
      "test.sh": "#!/bin/sh\nprintf '1..1\\nok 1 - repo\\n'\n",
    });
    commitFiles(repo, { a: "two\n" });
    const source = local(repo, first);
    const looked = await runJob({ read: [repo], payload: { source, run: LOOK } });
    expect(looked.report).toMatchObject({ end: "succeeded", result: { commit: first } });
    expect(looked.steps).toEqual(["checkout", "test"]);
    expect(looked.log).toStartWith(
      `==> checkout: git file://${repo} ${first.slice(0, 12)}\n==> checkout ended`,
    );
    expect(looked.log).toContain(`\n${first}\n## HEAD (no branch)\n1\n.\n..\n.git\na\ntest.sh\none\n`);
    const ran = await runJob({ read: [repo], payload: { source, run: ["./test.sh"] } });
    expect(ran.report).toMatchObject({ reason: "tests_passed", result: { totals: { tests: 1 } } });
  });

  test("bare, with a depth, below a read path, with a space in its name", async () => {
    using dir = tempDir();
    const repo = join(dir.path, "repo");
    makeRepository(repo, { a: "one\n" });
    commitFiles(repo, { a: "two\n" });
    const head = commitFiles(repo, { a: "three\n" });
    const bare = join(dir.path, "bare repo.git");
    git(dir.path, "clone", "--quiet", "--bare", repo, bare);
    const source = { ...local(bare, head, { depth: 2 }), url: `file://${bare.replace(" ", "%20")}` };
    const { report, log } = await runJob({ read: [dir.path], payload: { source, run: LOOK } });
    expect(report).toMatchObject({ end: "succeeded" });
    expect(log).toContain("\n2\n.\n..\n.git\na\nthree\n");
  });

  test("a commit that only a deleted branch had", async () => {
    using dir = tempDir();
    const repo = join(dir.path, "repo");
    const first = makeRepository(repo, { a: "one\n" });
    const lost = commitFiles(repo, { a: "lost\n" });
    git(repo, "reset", "--quiet", "--hard", first);
    const { log } = await runJob({ read: [repo], payload: { source: local(repo, lost), run: LOOK } });
    expect(log).toContain("\nlost\n");
  });

  test("a repository of hashes by SHA-256", async () => {
    using dir = tempDir();
    const repo = join(dir.path, "repo");
    mkdirSync(repo);
    git(repo, "init", "--quiet", "--object-format=sha256");
    const commit = commitFiles(repo, { a: "long\n" });
    const { report, log } = await runJob({
      read: [repo],
      payload: { source: local(repo, commit), run: LOOK },
    });
    expect(report.result?.commit).toBe(commit);
    expect(log).toContain("\nlong\n");
  });

  test("a commit that is not there, a directory that is no repository", async () => {
    using dir = tempDir();
    const repo = join(dir.path, "repo");
    makeRepository(repo, { a: "one\n" });
    const nowhere = "0123456789".repeat(4);
    const missing = await runJob({
      read: [dir.path],
      payload: { source: local(repo, nowhere), run: ["echo", "ran"] },
    });
    expect(missing.report).toMatchObject({
      end: "failed",
      reason: "checkout_failed",
      result: { commit: null },
    });
    expect(missing.report.detail).toContain("not our ref");
    expect(missing.steps).toEqual(["checkout"]);
    const empty = join(dir.path, "empty");
    mkdirSync(empty);
    const none = await runJob({ read: [dir.path], payload: { source: local(empty, nowhere) } });
    expect(none.report).toMatchObject({ reason: "checkout_failed" });
    expect(none.report.detail).toContain("does not appear to be a git repository");
  });

  test("one that belongs to somebody else is trusted for this path alone", async () => {
    using dir = tempDir();
    const repo = join(dir.path, "repo");
    const commit = makeRepository(repo, { a: "one\n" });
    // Only root can give files away; anybody else owns what it made, and then there is nothing to distrust.
    if (process.getuid?.() === 0) Bun.spawnSync(["/usr/bin/chown", "-R", "12345:12345", repo], { env: {} });
    const { report } = await runJob({ read: [repo], payload: { source: local(repo, commit), run: LOOK } });
    expect(report).toMatchObject({ end: "succeeded" });
  });

  test("a path through a link, http, ssh: nothing is fetched", async () => {
    using dir = tempDir();
    const repo = join(dir.path, "repo");
    const commit = makeRepository(repo, { a: "one\n" });
    symlinkSync(repo, join(dir.path, "link"));
    const linked = await runJob({
      read: [dir.path],
      payload: { source: local(join(dir.path, "link"), commit) },
    });
    expect(linked.report).toMatchObject({ end: "failed", reason: "input_unavailable", layers: [] });
    expect(linked.report.detail).toContain("symbolic link");
    for (const url of ["https://example.invalid/x.git", "ssh://example.invalid/x.git", "ext::touch x"]) {
      const { report } = await runJob({ payload: { source: { type: "git", url, commit } } });
      expect(report).toMatchObject({ end: "failed", reason: "input_unavailable", layers: [] });
    }
  });

  test("a host without git", async () => {
    const { report } = await runJob({
      task: { gitPath: null },
      payload: { source: { type: "git", url: "file:///srv/x", commit: "a".repeat(40) } },
    });
    expect(report).toMatchObject({ end: "failed", reason: "input_unavailable" });
    expect(report.detail).toContain("git is not installed");
  });
});

describe("a bundle", () => {
  test("is read from the job's blobs", async () => {
    using dir = tempDir();
    const repo = join(dir.path, "repo");
    const first = makeRepository(repo, { a: "one\n" });
    commitFiles(repo, { a: "two\n" });
    const path = join(dir.path, "blob");
    git(repo, "bundle", "create", "--quiet", path, "--all");
    const task = { blobs: [{ name: "repo", path }] };
    const source = { type: "bundle", blob: "repo", commit: first };
    const { report, log } = await runJob({ task, payload: { source, run: LOOK } });
    expect(report).toMatchObject({ end: "succeeded", result: { commit: first } });
    expect(log).toContain(`==> checkout: bundle repo ${first.slice(0, 12)}`);
    expect(log).toContain("\none\n");
    const gone = await runJob({ task: { blobs: [] }, payload: { source } });
    expect(gone.report).toMatchObject({ reason: "input_unavailable" });
  });

  test("broken, incomplete, or without the commit", async () => {
    using dir = tempDir();
    const repo = join(dir.path, "repo");
    makeRepository(repo, { a: "one\n" });
    const head = commitFiles(repo, { a: "two\n" });
    const whole = join(dir.path, "whole");
    const part = join(dir.path, "part");
    const noise = join(dir.path, "noise");
    git(repo, "bundle", "create", "--quiet", whole, "--all");
    git(repo, "bundle", "create", "--quiet", part, "HEAD~1..HEAD", "main");
    writeFileSync(noise, "not a bundle\n".repeat(100));
    for (const [path, commit] of [
      [whole, "0".repeat(40)],
      [part, head],
      [noise, head],
    ] as const) {
      const source = { type: "bundle", blob: "repo", commit };
      const { report } = await runJob({ task: { blobs: [{ name: "repo", path }] }, payload: { source } });
      expect(report).toMatchObject({ end: "failed", reason: "checkout_failed" });
      expect(report.detail).not.toBeNull();
    }
  });
});

describe("a hostile source", () => {
  /** A repository whose own configuration and hooks write `marker` when any git command obeys them. */
  function hostile(dir: string): { repo: string; commit: string; marker: string } {
    const repo = join(dir, "repo");
    const marker = join(dir, "marker");
    const run = join(dir, "run.sh");
    writeFileSync(run, `#!/bin/sh\necho "$0 $*" >> ${marker}\necho obeyed\n`, { mode: 0o755 });
    const commit = makeRepository(repo, {
      a: "one\n",
      ".gitattributes": "* filter=evil diff=evil\n",
      ".gitmodules": `[submodule "x"]\n\tpath = x\n\turl = file://${repo}\n`,
      ".env": "X=1\n",
    });
    for (const name of [
      "post-checkout",
      "pre-commit",
      "post-update",
      "pre-receive",
      "reference-transaction",
      "fsmonitor-watchman",
    ]) {
      writeFileSync(join(repo, ".git/hooks", name), `#!/bin/sh\nexec ${run} ${name}\n`);
      chmodSync(join(repo, ".git/hooks", name), 0o755);
    }
    appendFileSync(
      join(repo, ".git/config"),
      `[core]\n\tfsmonitor = ${run}\n\tsshCommand = ${run}\n\tpager = ${run}\n\teditor = ${run}\n` +
        `[filter "evil"]\n\tsmudge = ${run}\n\tclean = ${run}\n\trequired = true\n[diff "evil"]\n\ttextconv = ${run}\n` +
        `[uploadpack]\n\tpackObjectsHook = ${run}\n[alias]\n\tfetch = !${run}\n[credential]\n\thelper = !${run}\n`,
    );
    return { repo, commit, marker };
  }

  test("its hooks, filters and configuration do nothing, on the host or inside", async () => {
    using dir = tempDir();
    const { repo, commit, marker } = hostile(dir.path);
    // The control: a plain git command in that repository obeys it.
    git(repo, "status");
    expect(existsSync(marker)).toBe(true);
    rmSync(marker);
    const { report, log } = await runJob({
      read: [repo],
      payload: {
        source: local(repo, commit),
        run: ["sh", "-c", "git status --short; ls .git/hooks 2>&1; cat .git/config"],
      },
    });
    expect(report).toMatchObject({ end: "succeeded" });
    expect(existsSync(marker)).toBe(false);
    expect(log).not.toContain("obeyed");
    expect(log).not.toContain("evil");
    expect(log).toContain("'.git/hooks': No such file or directory");
  });

  test("a submodule that would run a command is refused", async () => {
    using dir = tempDir();
    const repo = join(dir.path, "repo");
    const modules = '[submodule "x"]\n\tpath = x\n\turl = file:///x\n\tupdate = !touch /work/ran\n';
    const commit = makeRepository(repo, { ".gitmodules": modules });
    const { report } = await runJob({ read: [repo], payload: { source: local(repo, commit) } });
    expect(report).toMatchObject({ end: "failed", reason: "checkout_failed" });
    expect(report.detail).toContain("fsck error in packed object");
  });

  test("objects borrowed from outside the granted path are not had", async () => {
    using dir = tempDir();
    const other = join(dir.path, "other");
    const commit = makeRepository(other, { a: "outside\n" });
    const repo = join(dir.path, "repo");
    makeRepository(repo, { b: "inside\n" });
    mkdirSync(join(repo, ".git/objects/info"), { recursive: true });
    writeFileSync(join(repo, ".git/objects/info/alternates"), `${other}/.git/objects\n`);
    expect(git(repo, "cat-file", "-t", commit)).toBe("commit"); // the control: git outside does borrow
    const { report } = await runJob({ read: [repo], payload: { source: local(repo, commit) } });
    expect(report).toMatchObject({ end: "failed", reason: "checkout_failed" });
  });

  test("a .git that is a file leads nowhere outside", async () => {
    using dir = tempDir();
    const other = join(dir.path, "other");
    const commit = makeRepository(other, { a: "outside\n" });
    const repo = join(dir.path, "repo");
    mkdirSync(repo);
    writeFileSync(join(repo, ".git"), `gitdir: ${other}/.git\n`);
    expect(git(repo, "rev-parse", "HEAD")).toBe(commit);
    const { report } = await runJob({ read: [repo], payload: { source: local(repo, commit) } });
    expect(report).toMatchObject({ end: "failed", reason: "checkout_failed" });
  });

  test("a tree that writes through its own links stays inside the workspace", async () => {
    using dir = tempDir();
    const repo = join(dir.path, "repo");
    const target = join(dir.path, "target");
    mkdirSync(target);
    makeRepository(repo, { a: "one\n" });
    symlinkSync(target, join(repo, "out"));
    const commit = commitFiles(repo, {});
    const { report } = await runJob({
      read: [repo],
      payload: { source: local(repo, commit), run: ["sh", "-c", "test -L out; echo x > out/file"] },
    });
    expect(report).toMatchObject({ reason: "exit_nonzero" });
    expect(existsSync(join(target, "file"))).toBe(false);
  });

  test("malformed objects are refused (a tree that would replace .git)", async () => {
    using dir = tempDir();
    const repo = join(dir.path, "repo");
    makeRepository(repo, { config: "[core]\n\tfsmonitor = touch /work/ran\n" });
    const blob = git(repo, "rev-parse", "HEAD:config");
    const inner = pipe(repo, `100644 blob ${blob}\tconfig\n`, "mktree");
    const tree = pipe(repo, `040000 tree ${inner}\t.GIT\n`, "mktree");
    const commit = git(repo, "commit-tree", "-m", "x", tree);
    const { report } = await runJob({ read: [repo], payload: { source: local(repo, commit) } });
    expect(report).toMatchObject({ end: "failed", reason: "checkout_failed" });
    expect(report.detail).toContain("index-pack failed");
    renameSync(repo, join(dir.path, "kept")); // nothing holds it any more
  });
});

function pipe(cwd: string, input: string, ...args: string[]): string {
  const done = Bun.spawnSync(["/usr/bin/git", ...args], { cwd, env: {}, stdin: Buffer.from(input) });
  if (done.exitCode !== 0) throw new Error(done.stderr.toString());
  return done.stdout.toString().trim();
}
