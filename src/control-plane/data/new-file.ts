import { randomBytes } from "node:crypto";
import { type FileHandle, link, lstat, open, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { errnoOf, fault, isFault, reasonOf } from "../../fault/fault.ts";
import { CREATE, syncDirectory } from "./durable-file.ts";

/** A private file in the making: it appears under its name whole, or not at all, and never over another. */
export interface NewFile {
  write(data: Uint8Array | string): Promise<void>;
}

/**
 * Makes a file that must not be there yet (0600), and answers what `fill` did. Throws OUTPUT_EXISTS, OUTPUT_UNWRITABLE, or
 * what `fill` throws.
 */
export async function makeNewFile<T>(path: string, fill: (file: NewFile) => Promise<T>): Promise<T> {
  const target = resolve(path);
  await refuseExisting(target);
  const temporary = `${target}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const filled = await fillFile(temporary, fill);
    await link(temporary, target);
    await rm(temporary);
    await syncDirectory(dirname(target));
    return filled;
  } catch (error) {
    await rm(temporary, { force: true });
    throw outputFault(target, error);
  }
}

async function fillFile<T>(path: string, fill: (file: NewFile) => Promise<T>): Promise<T> {
  const file = await open(path, CREATE, 0o600);
  try {
    const filled = await fill({ write: (data) => writeWhole(file, data) });
    await file.sync();
    return filled;
  } finally {
    await file.close();
  }
}

/** Throws OUTPUT_EXISTS when there is anything of this name, a dead link included. */
export async function refuseExisting(path: string): Promise<void> {
  try {
    await lstat(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return;
    throw outputFault(path, error);
  }
  throw fault("OUTPUT_EXISTS", { path });
}

/** What went wrong with a file or directory that was to be written, as a fault. */
export function outputFault(path: string, error: unknown): unknown {
  if (isFault(error)) return error;
  if (errnoOf(error) === "EEXIST") return fault("OUTPUT_EXISTS", { path }, error);
  return errnoOf(error) === "" ? error : fault("OUTPUT_UNWRITABLE", { path, why: reasonOf(error) }, error);
}

/** Writes every byte at the file's position. */
export async function writeWhole(file: FileHandle, data: Uint8Array | string): Promise<void> {
  const bytes = typeof data === "string" ? Buffer.from(data) : data;
  for (let written = 0; written < bytes.length; ) {
    written += (await file.write(bytes, written, bytes.length - written)).bytesWritten;
  }
}
