import { Database } from "bun:sqlite";
import { fault, reasonOf } from "../fault/fault.ts";
import { readSmallFile, writeDurably } from "./durable-file.ts";

/** Held for the life of the process; the kernel lets go of it even after SIGKILL. */
export interface StateLock {
  [Symbol.dispose](): void;
}

/**
 * Takes the one lock of a state directory: an exclusive SQLite transaction on a file of its own, that is, a POSIX
 * record lock. A pid file alone would be fooled by a reused pid. Throws STATE_LOCKED naming the holder.
 */
export function takeLock(lockPath: string, stateDir: string): StateLock {
  const pidPath = `${lockPath}.pid`;
  let db: Database | null = null;
  try {
    db = new Database(lockPath, { create: true, readwrite: true });
    // `status` looks at the lock for an instant; only a holder outlasts this wait.
    db.run("PRAGMA busy_timeout = 1500");
    db.run("BEGIN EXCLUSIVE");
  } catch (error) {
    db?.close();
    if (/locked|busy/i.test(reasonOf(error))) {
      const pid = Buffer.from(readSmallFile(pidPath, 64) ?? [])
        .toString("latin1")
        .trim();
      throw fault("STATE_LOCKED", { path: stateDir, pid: pid || "unknown" }, error);
    }
    if (/disk is full|ENOSPC/i.test(reasonOf(error)))
      throw fault("STATE_DISK_FULL", { path: lockPath }, error);
    throw fault("STATE_DIR_UNWRITABLE", { path: stateDir, why: reasonOf(error) }, error);
  }
  const held = db;
  const lock = {
    [Symbol.dispose]: () => {
      held.run("ROLLBACK");
      held.close();
    },
  };
  try {
    writeDurably(pidPath, `${process.pid}\n`);
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
  return lock;
}

/**
 * True while some process holds the lock; asked by `status`, which takes nothing: it reads under a shared lock, so that
 * two who ask do not take each other for an agent, and an agent that starts waits for the asking to be over.
 */
export function lockHeld(lockPath: string): boolean {
  let db: Database | null = null;
  try {
    db = new Database(lockPath, { readonly: true });
    db.run("PRAGMA busy_timeout = 0");
    db.query("SELECT count(*) FROM sqlite_master").get();
    return false;
  } catch (error) {
    return /locked|busy/i.test(reasonOf(error));
  } finally {
    db?.close();
  }
}
