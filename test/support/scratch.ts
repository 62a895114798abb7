import { accessSync, constants, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const MEMORY = "/dev/shm";

/**
 * A fresh private directory for small files, in memory where there is room for such: what is under test flushes after
 * every write, and a disk would make hundreds of tests wait for it. Whoever makes it removes it.
 */
export function scratchDirectory(name: string): string {
  return mkdtempSync(join(isWritable(MEMORY) ? MEMORY : tmpdir(), `agentina-${name}-`));
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false; // ENOENT, EACCES, EROFS: a host without it
  }
}
