// What a build says about itself: taken from package.json, git and the key, never from the clock.

import { join } from "node:path";
import { capture } from "./command.ts";
import type { BuildConstants } from "./programs.ts";

/** Paths whose uncommitted changes make a build `-dirty`: those that end up in a binary. */
const BUILT_FROM = ["src", "workers", "dist-scripts", "package.json", "package-lock.json", "tsconfig.json"];

/**
 * The constants of a build of the checkout at `root`. The date is SOURCE_DATE_EPOCH (reproducible-builds.org)
 * when set, else that of the commit.
 */
export async function readBuildConstants(
  root: string,
  target: string,
  devKeyPem: string,
  env: Record<string, string | undefined>,
): Promise<BuildConstants> {
  const { version } = await Bun.file(join(root, "package.json")).json();
  const commit = git(root, "rev-parse", "--verify", "HEAD");
  const dirty = commit !== "" && git(root, "status", "--porcelain", "--", ...BUILT_FROM) !== "";
  return {
    version,
    commit: commit === "" ? "unknown" : `${commit}${dirty ? "-dirty" : ""}`,
    date: isoDate(env["SOURCE_DATE_EPOCH"] ?? git(root, "show", "-s", "--format=%ct", "HEAD")),
    target,
    devKeyPem,
  };
}

/** The answer of git, or an empty string where there is no git, no repository or no commit. */
function git(root: string, ...args: string[]): string {
  const { status, stdout } = capture(["git", "-c", `safe.directory=${root}`, "-C", root, ...args]);
  return status === 0 ? stdout.trim() : "";
}

function isoDate(epochSeconds: string): string {
  if (!/^\d{1,11}$/.test(epochSeconds)) return "unknown";
  return new Date(Number(epochSeconds) * 1000).toISOString().replace(".000Z", "Z");
}
