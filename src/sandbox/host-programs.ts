import { realpathSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { reasonOf } from "../fault/fault.ts";

/** What was found at a program's fixed places. */
export type FoundProgram =
  | { readonly found: "usable"; readonly path: string }
  | { readonly found: "unusable"; readonly path: string; readonly why: string }
  | { readonly found: "missing" };

/**
 * The first of `candidates` (absolute) that exists. It must be executable and, with every directory above it, belong to
 * root and be writable by root alone: whoever can replace it could end every promise made with it.
 */
export function findProgram(candidates: readonly string[]): FoundProgram {
  for (const path of candidates) {
    if (!statSync(path, { throwIfNoEntry: false })) continue;
    const why = programProblem(path);
    return why === null ? { found: "usable", path } : { found: "unusable", path, why };
  }
  return { found: "missing" };
}

function programProblem(path: string): string | null {
  try {
    const real = realpathSync(path);
    const stat = statSync(real);
    if (!stat.isFile()) return "it is not a file";
    if ((stat.mode & 0o111) === 0) return "it is not executable";
    for (let place = real; ; place = dirname(place)) {
      const { uid, mode } = statSync(place);
      if (uid !== 0) return `"${place}" belongs to uid ${uid}`;
      if ((mode & 0o022) !== 0) return `others than root can write "${place}"`;
      if (place === "/") return null;
    }
  } catch (error) {
    return reasonOf(error);
  }
}
