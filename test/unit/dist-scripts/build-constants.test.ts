// Goal: a binary says truly what it was built from, and the same sources say the same at any hour.
// Method: read the constants of small real repositories: clean, changed, without a commit, without git.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readBuildConstants } from "../../../dist-scripts/build-constants.ts";
import { sourceHash } from "../../../dist-scripts/source-stamp.ts";

const root = mkdtempSync(join(tmpdir(), "agentina-constants-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const COMMIT_DATE = "2026-01-02T03:04:05Z";

function checkout(...steps: ("git" | "commit" | "change" | "litter")[]): string {
  const directory = mkdtempSync(join(root, "checkout-"));
  mkdirSync(join(directory, "src"));
  writeFileSync(join(directory, "src", "main.ts"), "export {};\n");
  for (const name of ["package-lock.json", "tsconfig.json"]) writeFileSync(join(directory, name), "{}");
  writeFileSync(join(directory, "package.json"), '{"version":"1.2.3"}');
  const effects = {
    git: () => git(directory, "init", "-q"),
    commit: () => {
      git(directory, "add", ".");
      git(directory, "commit", "-q", "-m", "first");
    },
    change: () => writeFileSync(join(directory, "src", "main.ts"), "export const x = 1;\n"),
    litter: () => writeFileSync(join(directory, "notes.txt"), "not built from\n"),
  };
  for (const step of steps) effects[step]();
  return directory;
}

function git(directory: string, ...args: string[]): void {
  const who = ["-c", "user.name=T", "-c", "user.email=t@example.com"];
  const env = {
    PATH: "/usr/bin:/bin",
    HOME: root,
    GIT_COMMITTER_DATE: COMMIT_DATE,
    GIT_AUTHOR_DATE: COMMIT_DATE,
  };
  const { exitCode, stderr } = Bun.spawnSync({ cmd: ["git", ...who, "-C", directory, ...args], env });
  if (exitCode !== 0) throw new Error(stderr.toString());
}

const read = (directory: string, env = {}) => readBuildConstants(directory, "linux-x64", "", env);

describe("the constants of", () => {
  test("a clean checkout name its commit and that commit's date", async () => {
    const constants = await read(checkout("git", "commit", "litter"));
    expect(constants).toMatchObject({
      version: "1.2.3",
      date: COMMIT_DATE,
      target: "linux-x64",
      devKeyPem: "",
    });
    expect(constants.commit).toMatch(/^[0-9a-f]{40}$/);
  });

  test("a changed checkout say so", async () => {
    expect((await read(checkout("git", "commit", "change"))).commit).toMatch(/^[0-9a-f]{40}-dirty$/);
  });

  test("a repository without a commit and a directory without git are unknown", async () => {
    expect(await read(checkout("git"))).toMatchObject({ commit: "unknown", date: "unknown" });
    expect(await read(checkout())).toMatchObject({ commit: "unknown", date: "unknown" });
  });

  test("any checkout take their date from SOURCE_DATE_EPOCH first", async () => {
    const directory = checkout("git", "commit");
    expect((await read(directory, { SOURCE_DATE_EPOCH: "0" })).date).toBe("1970-01-01T00:00:00Z");
    expect((await read(directory, { SOURCE_DATE_EPOCH: "soon" })).date).toBe("unknown");
  });
});

describe("the hash of the sources", () => {
  const constants = { version: "1", commit: "c", date: "d", target: "linux-x64", devKeyPem: "" };

  test("is the same for the same content, and another for another source or constant", async () => {
    const [one, same, changed] = [checkout(), checkout(), checkout("change")];
    const hash = await sourceHash(one, constants);
    expect(await sourceHash(same, constants)).toBe(hash);
    expect(await sourceHash(changed, constants)).not.toBe(hash);
    expect(await sourceHash(one, { ...constants, commit: "other" })).not.toBe(hash);
  });
});
