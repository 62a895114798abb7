import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { errnoOf, fault, reasonOf } from "../../fault/fault.ts";

/**
 * Replaces a file so that after any crash the old or the new bytes are there, whole: temporary file beside it, fsync,
 * rename, fsync of the directory. Throws CONTROL_DISK_FULL or what else the system said; the old file then stays.
 */
export async function writeDurably(path: string, data: string | Uint8Array, mode = 0o600): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const file = await open(temporary, CREATE, mode);
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true });
    throw ["ENOSPC", "EDQUOT"].includes(errnoOf(error)) ? fault("CONTROL_DISK_FULL", {}, error) : error;
  }
}

/** Flags of a file that must not be there yet; a link at its name is not followed. */
export const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Makes what was created, renamed or removed in a directory survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** A private file's bytes: a regular file of this user, closed to others, at most `maxBytes`. */
export type PrivateFile =
  | { readonly found: true; readonly bytes: Uint8Array }
  | { readonly found: false; readonly missing: boolean; readonly why: string };

/** Reads a file that holds a secret, without following a link. Says why not instead of throwing. */
export async function readPrivateFile(path: string, maxBytes: number): Promise<PrivateFile> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    return { found: false, missing: errnoOf(error) === "ENOENT", why: reasonOf(error) };
  }
  try {
    const stat = await file.stat();
    const refuse = (why: string) => ({ found: false, missing: false, why }) as const;
    if (!stat.isFile()) return refuse("it is not a regular file");
    if (stat.uid !== process.getuid?.()) return refuse(`it belongs to uid ${stat.uid}`);
    if ((stat.mode & 0o077) !== 0) return refuse(`its mode ${octal(stat.mode)} lets others in`);
    if (stat.size > maxBytes) return refuse(`it is larger than ${maxBytes} bytes`);
    return { found: true, bytes: new Uint8Array(await file.readFile()) };
  } finally {
    await file.close();
  }
}

export const octal = (mode: number): string => (mode & 0o7777).toString(8).padStart(4, "0");
