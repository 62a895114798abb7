import {
  accessSync,
  closeSync,
  constants,
  type Dirent,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
} from "node:fs";
import { errnoOf, fault, reasonOf } from "../fault/fault.ts";
import type { Scope } from "../protocol/scope.ts";
import { isWorkspaceEntry } from "../scope/paths.ts";
import type { Bind } from "./view.ts";

/** open(2): a handle of the place itself, without opening what is there. */
const O_PATH = 0o10000000;
const SCAN_ENTRIES_MAX = 1_000_000;
const SCAN_DIRECTORIES_A_TURN = 256;

/** Descriptors of the host paths a job was given. They pin what was checked; dispose closes them. */
export interface OpenPaths extends Disposable {
  readonly binds: readonly Bind[];
}

/**
 * Opens every host path of a scope, without following a link on the way. Throws SCOPE_PATH_MISSING for one that is not
 * there, is not spelt by its real name, is no file or directory, or holds a socket or a FIFO: through those a job could
 * talk to a process outside, whatever the mount's mode.
 */
export async function openScopePaths(files: Scope["files"]): Promise<OpenPaths> {
  using stack = new DisposableStack();
  const binds: Bind[] = [];
  const written = new Set(files.write);
  const reads = files.read.filter((path) => !written.has(path));
  for (const [list, writable] of [
    [reads, false],
    [files.write, true],
  ] as const) {
    for (const entry of new Set(list)) {
      if (isWorkspaceEntry(entry)) continue;
      const fd = openRealPath(entry);
      stack.defer(() => closeSync(fd));
      await refuseDoors(entry, fd);
      binds.push({ fd, to: entry, writable });
    }
  }
  const owned = stack.move();
  return { binds, [Symbol.dispose]: () => owned.dispose() };
}

/** An O_PATH descriptor of exactly `path`; SCOPE_PATH_MISSING unless that is its real name and it is a file or directory. */
export function openRealPath(path: string): number {
  let fd: number;
  try {
    fd = openSync(path, O_PATH | constants.O_NOFOLLOW);
  } catch (error) {
    const missing = errnoOf(error) === "ENOENT";
    const why = missing ? "it does not exist" : reasonOf(error);
    throw fault("SCOPE_PATH_MISSING", { entry: path, why }, error);
  }
  const why = realPathProblem(path, fd);
  if (why === null) return fd;
  closeSync(fd);
  throw fault("SCOPE_PATH_MISSING", { entry: path, why });
}

/** An O_PATH descriptor of a place of our own, whatever links lead there. Throws the error of node:fs. */
export const openOwnPath = (path: string): number => openSync(path, O_PATH);

/** Asked of the descriptor, not of the name: what it holds can no longer be swapped for something else. */
function realPathProblem(path: string, fd: number): string | null {
  const stat = fstatSync(fd);
  if (stat.isSymbolicLink()) return "it is a symbolic link; name the place it leads to";
  const real = readlinkSync(`/proc/self/fd/${fd}`);
  if (real !== path) return `a symbolic link on the way leads to "${real}"; name that place`;
  if (!stat.isDirectory() && !stat.isFile()) return "it is neither a file nor a directory";
  return null;
}

async function refuseDoors(entry: string, fd: number): Promise<void> {
  if (!fstatSync(fd).isDirectory()) return;
  const base = `/proc/self/fd/${fd}`;
  const open = [""];
  let seen = 0;
  for (let turn = 1; open.length > 0; turn++) {
    const directory = open.pop() ?? "";
    for (const item of listing(entry, base, directory)) {
      const path = `${directory}/${item.name}`;
      const type = typeOf(base + path, item);
      if (type?.isSocket() || type?.isFIFO()) {
        throw fault("SCOPE_PATH_MISSING", { entry, why: `it holds a socket or FIFO, "${entry}${path}"` });
      }
      if (type?.isDirectory()) open.push(path);
    }
    seen += 1;
    if (seen + open.length > SCAN_ENTRIES_MAX) {
      const why = `it holds more than ${SCAN_ENTRIES_MAX} directories, too many to look for sockets`;
      throw fault("SCOPE_PATH_MISSING", { entry, why });
    }
    if (turn % SCAN_DIRECTORIES_A_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A directory neither we nor the job (the same user) can enter holds nothing for it. */
function listing(entry: string, base: string, directory: string): readonly Dirent[] {
  const path = base + directory;
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch (error) {
    if (!canEnter(path)) return [];
    throw fault("SCOPE_PATH_MISSING", { entry, why: `"${entry}${directory}": ${reasonOf(error)}` }, error);
  }
}

function canEnter(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // EACCES, or gone meanwhile: the same answer
  }
}

/** Some file systems do not tell types in their listings; null for what is gone by now. */
function typeOf(path: string, item: Dirent): Pick<Dirent, "isDirectory" | "isFIFO" | "isSocket"> | null {
  const known =
    item.isFile() || item.isDirectory() || item.isSymbolicLink() || item.isFIFO() || item.isSocket();
  return known ? item : (lstatSync(path, { throwIfNoEntry: false }) ?? null);
}
