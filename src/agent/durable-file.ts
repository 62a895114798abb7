import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { errnoOf, fault, reasonOf } from "../fault/fault.ts";

/**
 * Replaces a file so that after any crash either the old or the new bytes are there, whole: temporary file beside it,
 * fsync, rename, fsync of the directory. Throws STATE_DISK_FULL or STATE_DIR_UNWRITABLE; the old file then stays.
 */
export function writeDurably(path: string, data: string | Uint8Array, mode = 0o600): void {
  const temporary = `${path}.tmp`;
  try {
    rmSync(temporary, { force: true });
    const fd = openSync(
      temporary,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      mode,
    );
    try {
      writeAll(fd, typeof data === "string" ? Buffer.from(data) : data);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
    syncDirectory(dirname(path));
  } catch (error) {
    removeLeftover(temporary);
    throw writeFault(path, error);
  }
}

function removeLeftover(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // EROFS, EISDIR: what kept the file from being written keeps this, and the caller hears of that
  }
}

/** Renames within one file system so that it survives a power cut; whatever was there is replaced. */
export function renameDurably(from: string, to: string): void {
  try {
    renameSync(from, to);
    syncDirectory(dirname(to));
    if (dirname(from) !== dirname(to)) syncDirectory(dirname(from));
  } catch (error) {
    throw writeFault(to, error);
  }
}

/** Removes a file so that it stays removed after a power cut; one that is not there is no failure. */
export function removeDurably(path: string): void {
  try {
    rmSync(path, { force: true });
    syncDirectory(dirname(path));
  } catch (error) {
    throw writeFault(path, error);
  }
}

/** Makes what was renamed, created or removed in a directory survive a power cut. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Makes an empty file (0600) unless something is there, for libraries that would make it readable for others. */
export function makePrivateFile(path: string): void {
  try {
    closeSync(openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600));
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw writeFault(path, error);
  }
}

/** Reads a small regular file without following a link at its end; null when it is not there. */
export function readSmallFile(path: string, maxBytes: number): Uint8Array | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null;
    if (errnoOf(error) === "ELOOP")
      throw fault("STATE_FILE_MALFORMED", { path, why: "it is a symbolic link" }, error);
    throw fault("STATE_FILE_UNREADABLE", { path, why: reasonOf(error) }, error);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw fault("STATE_FILE_MALFORMED", { path, why: "it is not a regular file" });
    if (stat.size > maxBytes)
      throw fault("STATE_FILE_MALFORMED", { path, why: `it is larger than ${maxBytes} bytes` });
    return readAll(fd, stat.size);
  } finally {
    closeSync(fd);
  }
}

/** Makes a private directory (0700) unless it is there; checks that it is one, ours, and closed to others. */
export function ensurePrivateDirectory(path: string, mode = 0o700): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (errnoOf(error) === "ENOENT") makeWithParents(path, mode);
    else if (errnoOf(error) !== "EEXIST" && !existsSync(path)) throw createFault(path, error);
  }
  checkPrivateDirectory(path);
}

/** Throws unless `path` is a real directory of this user that nobody else may write. */
export function checkPrivateDirectory(path: string): void {
  const stat = statOf(path);
  if (!stat.isDirectory()) {
    throw fault("STATE_DIR_NOT_DIRECTORY", {
      path,
      what: stat.isSymbolicLink() ? "a symbolic link" : "a file",
    });
  }
  const uid = process.getuid?.() ?? 0;
  if (stat.uid !== uid) throw fault("STATE_DIR_FOREIGN", { path, owner: stat.uid, uid });
  if ((stat.mode & 0o027) !== 0) {
    throw fault("STATE_DIR_OPEN", { path, mode: (stat.mode & 0o7777).toString(8).padStart(4, "0") });
  }
}

/** A failed write as the fault a person can act on. */
export function writeFault(path: string, error: unknown) {
  const errno = errnoOf(error);
  if (errno === "ENOSPC" || errno === "EDQUOT") return fault("STATE_DISK_FULL", { path }, error);
  return fault("STATE_DIR_UNWRITABLE", { path: dirname(path), why: reasonOf(error) }, error);
}

function makeWithParents(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode, recursive: true });
  } catch (error) {
    throw createFault(path, error);
  }
}

const createFault = (path: string, error: unknown) =>
  fault("STATE_DIR_CREATE", { path, why: reasonOf(error) }, error);

function statOf(path: string): Stats {
  try {
    return lstatSync(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") throw fault("STATE_DIR_MISSING", { path }, error);
    throw fault("STATE_FILE_UNREADABLE", { path, why: reasonOf(error) }, error);
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  let written = 0;
  while (written < bytes.length) written += writeSync(fd, bytes, written);
}

/** At most `size` bytes of an open file, from where it stands. */
export function readAll(fd: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let read = 0;
  while (read < size) {
    const count = readSync(fd, bytes, read, size - read, null);
    if (count === 0) break;
    read += count;
  }
  return bytes.subarray(0, read);
}
