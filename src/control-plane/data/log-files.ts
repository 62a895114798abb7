import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parse } from "valibot";
import { errnoOf } from "../../fault/fault.ts";
import { type AccountId, type JobId, type Sha256, Sha256Schema } from "../../protocol/ids.ts";

/** One stream of one attempt. */
export interface LogName {
  readonly account: AccountId;
  readonly job: JobId;
  readonly attempt: number;
  readonly stream: string;
}

const CHUNK_BYTES = 262_144;

/** Job logs on disk. How long a log is stands in the database; these files hold at least that many bytes. */
export class LogFiles {
  private readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  /** Writes `bytes` at `offset` and flushes them. What a crash left behind them is overwritten or cut. */
  async write(name: LogName, offset: number, bytes: Uint8Array): Promise<void> {
    const path = this.pathOf(name);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    try {
      await file.truncate(offset);
      await writeAt(file, bytes, offset);
      await file.datasync();
    } finally {
      await file.close();
    }
  }

  /** Up to `length` bytes from `offset`; fewer at the end, none of a log that was never written. */
  async read(name: LogName, offset: number, length: number): Promise<Uint8Array> {
    if (length <= 0) return new Uint8Array();
    const file = await this.opened(name);
    if (file === null) return new Uint8Array();
    try {
      return await readAt(file, offset, length);
    } finally {
      await file.close();
    }
  }

  /** SHA-256 of the first `size` bytes. */
  async digest(name: LogName, size: number): Promise<Sha256> {
    const hash = createHash("sha256");
    const file = await this.opened(name);
    try {
      for (let offset = 0; file !== null && offset < size; ) {
        const bytes = await readAt(file, offset, Math.min(CHUNK_BYTES, size - offset));
        if (bytes.length === 0) break;
        hash.update(bytes);
        offset += bytes.length;
      }
    } finally {
      await file?.close();
    }
    return parse(Sha256Schema, hash.digest("hex"));
  }

  private pathOf({ account, job, attempt, stream }: LogName): string {
    return join(this.root, account, job, `${attempt}.${stream}.log`);
  }

  private async opened(name: LogName): Promise<FileHandle | null> {
    try {
      return await open(this.pathOf(name), constants.O_RDONLY | constants.O_NOFOLLOW);
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return null; // nothing was ever appended
      throw error;
    }
  }
}

async function writeAt(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, offset + done);
    done += bytesWritten;
  }
}

async function readAt(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let read = 0;
  while (read < length) {
    const { bytesRead } = await file.read(bytes, read, length - read, offset + read);
    if (bytesRead === 0) break;
    read += bytesRead;
  }
  return bytes.subarray(0, read);
}
