import { createHash, randomBytes } from "node:crypto";
import { chmod, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Sha256 } from "../../protocol/ids.ts";
import { CREATE, syncDirectory } from "../data/durable-file.ts";
import { makeNewFile, outputFault, refuseExisting, writeWhole } from "../data/new-file.ts";
import { tarEnd, tarHeader, tarPadding } from "./tar.ts";

/** Where the files of a backup go, one after the other. */
export interface Sink {
  /** Takes exactly `size` bytes and answers their digest. Throws what `bytes` throws, or when there are fewer. */
  add(path: string, size: number, bytes: AsyncIterable<Uint8Array>): Promise<Sha256>;
}

/** A name that ends in `.tar` is one file, any other a directory. */
export const isArchive = (path: string): boolean => path.endsWith(".tar");

/**
 * Makes a backup at `path`, which appears whole or not at all, and answers what `fill` did. Throws OUTPUT_EXISTS,
 * OUTPUT_UNWRITABLE.
 */
export async function makeBackup<T>(
  path: string,
  nowS: number,
  fill: (sink: Sink) => Promise<T>,
): Promise<T> {
  return isArchive(path) ? await makeArchive(path, nowS, fill) : await makeDirectory(resolve(path), fill);
}

async function makeArchive<T>(path: string, nowS: number, fill: (sink: Sink) => Promise<T>): Promise<T> {
  return await makeNewFile(path, async (file) => {
    const filled = await fill({
      add: async (name, size, bytes) => {
        await file.write(tarHeader({ path: name, size }, nowS));
        const sha256 = await copy(name, size, bytes, (chunk) => file.write(chunk));
        await file.write(tarPadding(size));
        return sha256;
      },
    });
    await file.write(tarEnd());
    return filled;
  });
}

async function makeDirectory<T>(target: string, fill: (sink: Sink) => Promise<T>): Promise<T> {
  await refuseExisting(target);
  const workshop = `${target}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    await mkdir(workshop, { mode: 0o700 });
    const sink = new DirectorySink(workshop);
    const filled = await fill(sink);
    await sink.sync();
    await mkdir(target, { mode: 0o700 }); // fails when somebody made one meanwhile; an empty one is renamed over
    await rename(workshop, target);
    await chmod(target, 0o700);
    await syncDirectory(dirname(target));
    return filled;
  } catch (error) {
    await rm(workshop, { recursive: true, force: true });
    throw outputFault(target, error);
  }
}

/** Files below a directory, each flushed before the next. */
export class DirectorySink implements Sink {
  private readonly root: string;
  private readonly directories = new Set<string>();

  constructor(root: string) {
    this.root = root;
    this.directories.add(root);
  }

  async add(path: string, size: number, bytes: AsyncIterable<Uint8Array>): Promise<Sha256> {
    const target = join(this.root, path);
    await this.makeParents(dirname(target));
    const file = await open(target, CREATE, 0o600);
    try {
      const sha256 = await copy(path, size, bytes, (chunk) => writeWhole(file, chunk));
      await file.datasync();
      return sha256;
    } finally {
      await file.close();
    }
  }

  /** Makes the names of everything that was added survive a power cut. */
  async sync(): Promise<void> {
    for (const directory of this.directories) await syncDirectory(directory);
  }

  private async makeParents(directory: string): Promise<void> {
    if (this.directories.has(directory)) return;
    await this.makeParents(dirname(directory));
    await mkdir(directory, { recursive: true, mode: 0o700 });
    this.directories.add(directory);
  }
}

async function copy(
  path: string,
  size: number,
  bytes: AsyncIterable<Uint8Array>,
  write: (chunk: Uint8Array) => Promise<void>,
): Promise<Sha256> {
  const hash = createHash("sha256");
  let left = size;
  for await (const chunk of bytes) {
    const taken = chunk.subarray(0, left);
    hash.update(taken);
    await write(taken);
    left -= taken.length;
    if (left === 0) break;
  }
  if (left > 0) throw new Error(`"${path}" became shorter while it was copied`);
  return hash.digest("hex") as Sha256;
}
