import { Database } from "bun:sqlite";
import { lstat, mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fault, reasonOf } from "../../fault/fault.ts";
import { octal, readPrivateFile, writeDurably } from "./durable-file.ts";

/** Where everything lies in a data directory. */
export interface DataPaths {
  readonly root: string;
  readonly keys: string;
  readonly adminKey: string;
  /** Opens the secrets in the database; never part of a backup. */
  readonly secretsKey: string;
  readonly database: string;
  /** Written once everything of the first start is there; from then on nothing is made anew. */
  readonly installed: string;
  readonly blobs: string;
  readonly logs: string;
  /** What must outlive the database; never part of a backup. */
  readonly ledger: string;
  /** A backup that is being brought back, and one that is whole and has to take its place. */
  readonly restoring: string;
  readonly restored: string;
  readonly lock: string;
  readonly pid: string;
  /** Address and pid of the process serving it, for commands on the same host. */
  readonly serve: string;
}

export function dataPaths(directory: string): DataPaths {
  const root = resolve(directory);
  return {
    root,
    keys: join(root, "keys"),
    adminKey: join(root, "admin.key"),
    secretsKey: join(root, "secrets.key"),
    database: join(root, "control.db"),
    installed: join(root, "installed"),
    blobs: join(root, "blobs"),
    logs: join(root, "logs"),
    ledger: join(root, "ledger.jsonl"),
    restoring: join(root, "restore.tmp"),
    restored: join(root, "restore.ready"),
    lock: join(root, "lock"),
    pid: join(root, "lock.pid"),
    serve: join(root, "serve.json"),
  };
}

/** Makes the data directory (0700) unless it is there; refuses one that is not wholly this user's. CONTROL_DATA_DIR. */
export async function prepareDataDirectory(directory: string): Promise<DataPaths> {
  const paths = dataPaths(directory);
  const refuse = (why: string, cause?: unknown) =>
    fault("CONTROL_DATA_DIR", { path: paths.root, why }, cause);
  try {
    await mkdir(paths.root, { recursive: true, mode: 0o700 });
    const stat = await lstat(paths.root);
    if (!stat.isDirectory()) throw refuse("it is not a directory; links are not followed");
    if (stat.uid !== process.getuid?.()) throw refuse(`it belongs to uid ${stat.uid}`);
    if ((stat.mode & 0o7777) !== 0o700) throw refuse(`its mode is ${octal(stat.mode)}, not 0700`);
    await mkdir(paths.blobs, { recursive: true, mode: 0o700 });
    await mkdir(paths.logs, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw error instanceof Error && error.name === "Fault" ? error : refuse(reasonOf(error), error);
  }
  return paths;
}

/** Held while a process serves a data directory; the kernel lets go of it whatever ends the process. */
export interface DataLock {
  release(): void;
}

/**
 * Takes the one lock of a data directory: a write transaction on a file of its own, which SQLite holds as a POSIX
 * record lock. A pid file alone is fooled by a reused pid. Throws CONTROL_DATA_LOCKED naming the holder.
 */
export async function lockDataDirectory(paths: DataPaths): Promise<DataLock> {
  const held = await takeLock(paths);
  await writeDurably(paths.pid, `${process.pid}\n`);
  return {
    release: () => {
      held.run("ROLLBACK");
      held.close();
    },
  };
}

async function takeLock(paths: DataPaths): Promise<Database> {
  let database: Database | null = null;
  try {
    database = new Database(paths.lock, { create: true, readwrite: true });
    database.run("PRAGMA busy_timeout = 0");
    database.run("BEGIN EXCLUSIVE");
    return database;
  } catch (error) {
    database?.close();
    if (!/locked|busy/i.test(reasonOf(error))) {
      throw fault("CONTROL_DATA_DIR", { path: paths.root, why: reasonOf(error) }, error);
    }
    const pid = await readPrivateFile(paths.pid, 64);
    const holder = pid.found ? new TextDecoder().decode(pid.bytes).trim() : "unknown";
    throw fault("CONTROL_DATA_LOCKED", { path: paths.root, pid: holder }, error);
  }
}
