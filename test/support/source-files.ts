// The repository's own files, for tests that hold them to the house rules.

import { join, relative } from "node:path";

/** The project directory. */
export const ROOT = join(import.meta.dir, "..", "..");

export interface SourceFile {
  /** Relative to the project directory. */
  readonly path: string;
  readonly text: string;
}

/** Everything that is shipped, or builds what is shipped. */
export const SHIPPED = [
  "{src,workers,dist-scripts}/**/*.{ts,tsx,mjs,js,css,html,sh,sql}",
  "install.sh",
  ".ci/run",
];

export const TESTS = ["test/**/*.{ts,tsx}"];

/** Reads the files that match any of `patterns`, in alphabetical order. */
export async function sourceFiles(patterns: readonly string[]): Promise<SourceFile[]> {
  const paths = new Set<string>();
  for (const pattern of patterns) {
    const found = new Bun.Glob(pattern).scan({ cwd: ROOT, absolute: true, dot: true, onlyFiles: true });
    for await (const path of found) paths.add(relative(ROOT, path));
  }
  const readable = [...paths].filter((path) => !/^test\/(?:.*\/)?(?:tools|fixtures)\//.test(path)).sort();
  return await Promise.all(
    readable.map(async (path) => ({ path, text: await Bun.file(join(ROOT, path)).text() })),
  );
}
