import { closeSync, fstatSync, readSync } from "node:fs";
import { LIMITS } from "../../src/protocol/limits.ts";
import { openBeneath } from "../../src/sandbox/libc.ts";

/** What makes two looks at a file the same file, unchanged. The job can set mtime, but not ctime. */
export interface FileMark {
  readonly inode: bigint;
  readonly changedNs: bigint;
}

export type ReportFile =
  | { readonly found: "missing" }
  | { readonly found: "unusable"; readonly why: string }
  | { readonly found: "bytes"; readonly bytes: Uint8Array; readonly mark: FileMark };

/**
 * Reads a file the job may have written. No link is followed in any part of `path`, nothing but a regular file is
 * opened for long, nothing waits (a FIFO without a writer), and nothing larger than REPORT_FILE_BYTES is read.
 */
export function readReportFile(workspaceFd: number, path: string): ReportFile {
  const opened = openBeneath(workspaceFd, path);
  if (opened === "missing") return { found: "missing" };
  if (opened === "symlink") return { found: "unusable", why: "a symbolic link is on the way to it" };
  if (opened === "unreadable") return { found: "unusable", why: "it cannot be opened" };
  const { fd } = opened;
  try {
    const stat = fstatSync(fd, { bigint: true });
    if (!stat.isFile()) return { found: "unusable", why: "it is not a regular file" };
    if (stat.size > BigInt(LIMITS.REPORT_FILE_BYTES)) {
      return { found: "unusable", why: `it is larger than ${LIMITS.REPORT_FILE_BYTES} bytes` };
    }
    const mark = { inode: stat.ino, changedNs: stat.ctimeNs };
    return { found: "bytes", bytes: readExactly(fd, Number(stat.size)), mark };
  } finally {
    closeSync(fd);
  }
}

/** The mark of the file as it is now, null when there is none that could be read. */
export function markReportFile(workspaceFd: number, path: string): FileMark | null {
  const opened = openBeneath(workspaceFd, path);
  if (typeof opened === "string") return null;
  try {
    const stat = fstatSync(opened.fd, { bigint: true });
    return stat.isFile() ? { inode: stat.ino, changedNs: stat.ctimeNs } : null;
  } finally {
    closeSync(opened.fd);
  }
}

function readExactly(fd: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let done = 0;
  while (done < size) {
    const count = readSync(fd, bytes, done, size - done, done);
    if (count === 0) break;
    done += count;
  }
  return bytes.subarray(0, done);
}
