import { lstat, mkdir, readdir, rename, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, fault, reasonOf } from "../../fault/fault.ts";
import type { DataPaths } from "../data/data-dir.ts";
import { readPrivateFile, syncDirectory } from "../data/durable-file.ts";

/** What a backup brings into a data directory. The database's own side files are never brought, only put aside. */
const BROUGHT = ["control.db", "keys", "admin.key", "blobs", "logs", "installed"] as const;
const BESIDE: Readonly<Record<string, readonly string[]>> = {
  "control.db": ["control.db", "control.db-wal", "control.db-shm"],
};

/** Name of the file that says where what was there is put aside. */
export const ASIDE_NAME = "aside";

/**
 * Puts a whole, verified restore in the place of what is there, name by name. Called by whoever holds the lock: at the
 * restore itself, and at the next start when that was cut off. Doing it again goes on where it ended. Answers the
 * directory with what was there before, or null when nothing was waiting. Throws CONTROL_DATA_DIR.
 */
export async function finishRestore(paths: DataPaths): Promise<string | null> {
  const ready = paths.restored;
  try {
    const waiting = await namesIn(ready);
    if (waiting === null) return null;
    const aside = join(paths.root, await asideName(ready));
    await mkdir(aside, { recursive: true, mode: 0o700 });
    for (const name of BROUGHT) {
      if (!waiting.includes(name)) continue; // brought before a cut
      for (const old of BESIDE[name] ?? [name]) await moveIfThere(join(paths.root, old), join(aside, old));
      await syncDirectory(aside);
      await rename(join(ready, name), join(paths.root, name));
      await syncDirectory(paths.root);
    }
    await rm(ready, { recursive: true });
    const nothing = (await namesIn(aside))?.length === 0;
    if (nothing) await rmdir(aside);
    await syncDirectory(paths.root);
    return nothing ? null : aside;
  } catch (error) {
    if (errnoOf(error) === "") throw error;
    throw fault("CONTROL_DATA_DIR", { path: paths.root, why: reasonOf(error) }, error);
  }
}

async function asideName(ready: string): Promise<string> {
  const file = await readPrivateFile(join(ready, ASIDE_NAME), 256);
  const name = file.found ? new TextDecoder().decode(file.bytes) : "";
  return /^before-era-\d{1,16}$/.test(name) ? name : "before-restore";
}

async function namesIn(path: string): Promise<string[] | null> {
  try {
    return await readdir(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null;
    throw error;
  }
}

async function moveIfThere(from: string, to: string): Promise<void> {
  try {
    // What `serve` makes before there is anything to keep is not worth keeping.
    if ((await lstat(from)).isDirectory() && (await readdir(from)).length === 0) return await rmdir(from);
    await rename(from, to);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error; // nothing of that name was there, or it was moved before a cut
  }
}
