// node:fs/promises for programs in a simulated world: the synchronous calls, so that what ends first is always the same.

import * as fs from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { type Machine, machineAt } from "../machine.ts";
import { name, renameSync, rmSync } from "./fs.ts";

export const rename = async (from: string, to: string): Promise<void> => renameSync(from, to);
export const lstat = async (path: string): Promise<fs.Stats> => fs.lstatSync(path);
export const stat = async (path: string): Promise<fs.Stats> => fs.statSync(path);
export const rmdir = async (path: string): Promise<void> => fs.rmdirSync(path);
export const chmod = async (path: string, mode: number): Promise<void> => fs.chmodSync(path, mode);

export const readdir = async (path: string, options?: { withFileTypes: true }) =>
  options ? fs.readdirSync(path, options) : fs.readdirSync(path);

export async function readFile(path: string, encoding?: "utf8"): Promise<string | Buffer> {
  return encoding ? fs.readFileSync(path, encoding) : fs.readFileSync(path);
}

export async function link(from: string, to: string): Promise<void> {
  const machine = machineAt(to);
  const make = () => fs.linkSync(from, to);
  if (machine === null) make();
  else machine.durable(`link ${name(to)}`, make);
}

export async function mkdir(path: string, options?: fs.MakeDirectoryOptions): Promise<void> {
  machineAt(path)?.enter(`make ${path}`);
  fs.mkdirSync(path, options);
}

export async function rm(path: string, options?: fs.RmOptions): Promise<void> {
  // A job's tree is nobody's state: its removal is no write that anything hangs on.
  const machine = machineAt(path);
  if (options?.recursive) {
    machine?.enter(`remove ${path}`);
    fs.rmSync(path, options);
  } else rmSync(path, options);
}

export async function open(path: string, flags: string | number, mode?: number): Promise<FileHandle> {
  const machine = machineAt(path);
  machine?.enter(`open ${path}`);
  return new Handle(machine, path, fs.openSync(path, flags, mode)) as unknown as FileHandle;
}

const PIECE_BYTES = 65_536;

class Handle {
  private readonly machine: Machine | null;
  private readonly path: string;
  private readonly fd: number;

  constructor(machine: Machine | null, path: string, fd: number) {
    this.machine = machine;
    this.path = path;
    this.fd = fd;
  }

  async stat(): Promise<fs.Stats> {
    return fs.fstatSync(this.fd);
  }

  async readFile(): Promise<Buffer> {
    return fs.readFileSync(this.fd);
  }

  async writeFile(data: string | Uint8Array): Promise<void> {
    this.room();
    fs.writeFileSync(this.fd, data);
  }

  async read(buffer: Uint8Array, offset: number, length: number, position: number) {
    return { bytesRead: fs.readSync(this.fd, buffer, offset, length, position), buffer };
  }

  async write(
    buffer: Uint8Array,
    offset = 0,
    length = buffer.length - offset,
    position: number | null = null,
  ) {
    this.room();
    return { bytesWritten: fs.writeSync(this.fd, buffer, offset, length, position), buffer };
  }

  /** The whole file from its beginning, in pieces. */
  async *createReadStream(): AsyncGenerator<Uint8Array> {
    const piece = new Uint8Array(PIECE_BYTES);
    for (let position = 0; ; ) {
      const count = fs.readSync(this.fd, piece, 0, piece.length, position);
      if (count === 0) return;
      position += count;
      yield piece.slice(0, count);
    }
  }

  async truncate(length: number): Promise<void> {
    this.room();
    fs.ftruncateSync(this.fd, length);
  }

  async sync(): Promise<void> {
    this.machine?.enter("flush");
  }

  async datasync(): Promise<void> {
    this.machine?.durable(`flush ${name(this.path)}`, () => undefined);
  }

  async close(): Promise<void> {
    fs.closeSync(this.fd);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private room(): void {
    this.machine?.enter(`write ${this.path}`);
    if (this.machine?.full) {
      throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
    }
  }
}
