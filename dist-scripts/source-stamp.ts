// Whether what lies in dist/ was built from what lies here now: by content, never by time.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { BuildConstants } from "./programs.ts";

const SOURCES = "{src,workers,dist-scripts}/**/*";
const FILES = ["package.json", "package-lock.json", "tsconfig.json"];

/** A hash over every source, the lock file, the constants (the commit is one) and the runtime's version. */
export async function sourceHash(root: string, constants: BuildConstants): Promise<string> {
  const sources = await Array.fromAsync(new Bun.Glob(SOURCES).scan({ cwd: root, onlyFiles: true }));
  const hash = createHash("sha256").update(JSON.stringify({ constants, runtime: Bun.version }));
  for (const path of [...sources.sort(), ...FILES]) {
    const content = await readFile(join(root, path));
    hash.update(`\n${path} ${content.length}\n`).update(content);
  }
  return hash.digest("hex");
}

/** What a finished build leaves behind: its sources' hash and the size of each file it made. */
export interface Stamp {
  readonly sources: string;
  readonly sizes: Readonly<Record<string, number>>;
}

/** True when `directory` holds a whole build of `sources`. An unreadable stamp counts as none. */
export async function isUpToDate(directory: string, sources: string): Promise<boolean> {
  const stamp: Stamp | undefined = await Bun.file(stampPath(directory))
    .json()
    .catch(() => undefined);
  if (stamp?.sources !== sources) return false;
  return Object.entries(stamp.sizes).every(([name, size]) => Bun.file(join(directory, name)).size === size);
}

/** Where the stamp lies. It is removed before a build and written after it. */
export function stampPath(directory: string): string {
  return join(directory, ".build-stamp.json");
}
