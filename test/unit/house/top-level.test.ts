// Goal: the top level of the repository stays as it is drawn, and what is in it is what it says.
// Method: list what git would commit there (or the directory itself without git) against the names allowed.

import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../../support/source-files.ts";

const ALLOWED = new Set([
  ".ci",
  ".gitignore",
  "CHANGELOG.md",
  "LICENSE",
  "README.md",
  "SECURITY.md",
  "biome.json",
  "bunfig.toml",
  "dist-scripts",
  "docs",
  "install.sh",
  "package-lock.json",
  "package.json",
  "src",
  "test",
  "tsconfig.json",
  "workers",
]);

/** Made here and never committed. */
const IGNORED = new Set([".agentina-dev", ".git", "coverage", "dist", "node_modules"]);

interface LockedPackage {
  readonly integrity?: string;
  readonly dependencies?: Record<string, string>;
  readonly optionalDependencies?: Record<string, string>;
}

describe("the top level", () => {
  test("holds only the names of the floor plan", () => {
    expect(topLevelNames().filter((name) => !ALLOWED.has(name))).toEqual([]);
  });

  test("pins every dependency to one version", async () => {
    const { dependencies, devDependencies } = await Bun.file(join(ROOT, "package.json")).json();
    const loose = Object.entries({ ...dependencies, ...devDependencies }).filter(
      ([, version]) => !/^\d+\.\d+\.\d+$/.test(String(version)),
    );
    expect(loose).toEqual([]);
  });

  test("has a lock that names every package for every platform, with its hash", async () => {
    const { packages } = await Bun.file(join(ROOT, "package-lock.json")).json();
    const entries = Object.entries<LockedPackage>(packages).filter(([path]) => path !== "");
    const names = new Set(entries.map(([path]) => path.slice(path.lastIndexOf("node_modules/") + 13)));
    const wanted = entries.flatMap(([, entry]) =>
      Object.keys({ ...entry.dependencies, ...entry.optionalDependencies }),
    );
    expect(wanted.filter((name) => !names.has(name))).toEqual([]);
    expect(entries.filter(([, { integrity }]) => !integrity?.startsWith("sha512-"))).toEqual([]);
  });

  test("LICENSE is the Apache License 2.0, in full", async () => {
    const text = await Bun.file(join(ROOT, "LICENSE")).text();
    expect(text).toContain("Apache License\n                           Version 2.0, January 2004");
    expect(text).toContain("END OF TERMS AND CONDITIONS");
  });
});

function topLevelNames(): string[] {
  const git = Bun.spawnSync({
    cmd: ["git", "-c", `safe.directory=${ROOT}`, "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd: ROOT,
    stderr: "ignore",
    env: process.env,
  });
  const names =
    git.exitCode === 0
      ? git.stdout.toString().trim().split("\n")
      : readdirSync(ROOT).filter((name) => !IGNORED.has(name));
  return [...new Set(names.map((path) => path.split("/")[0] ?? path))].sort();
}
