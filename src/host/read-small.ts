import { closeSync, constants, openSync, readSync } from "node:fs";
import { errnoOf } from "../fault/fault.ts";

/** What a small kernel or system file holds. `unreadable` is not `absent`: it is there, but not for this user. */
export type SmallFile =
  | { readonly state: "read"; readonly text: string }
  | { readonly state: "absent" }
  | { readonly state: "unreadable" };

const ABSENT = new Set(["ENOENT", "ENOTDIR", "ENODEV", "ENXIO"]);

/** Reads at most `maxBytes` from the beginning of a file; sysfs and procfs do not tell their sizes. */
export function readSmall(path: string, maxBytes = 4096): SmallFile {
  let fd = -1;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const bytes = Buffer.alloc(maxBytes);
    let length = 0;
    for (let count = -1; count !== 0 && length < maxBytes; length += count) {
      count = readSync(fd, bytes, length, maxBytes - length, null);
    }
    return { state: "read", text: bytes.toString("utf8", 0, length) };
  } catch (error) {
    const code = errnoOf(error);
    return { state: ABSENT.has(code) ? "absent" : "unreadable" };
  } finally {
    if (fd !== -1) closeSync(fd);
  }
}

/** The text of a small file without outer white space, or null when it cannot be had. */
export function textOf(path: string, maxBytes?: number): string | null {
  const file = readSmall(path, maxBytes);
  return file.state === "read" ? file.text.trim() : null;
}
