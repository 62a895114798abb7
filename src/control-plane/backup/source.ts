import { constants } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, fault, reasonOf } from "../../fault/fault.ts";
import type { Sha256 } from "../../protocol/ids.ts";
import { parseDocument } from "../../protocol/json.ts";
import { sha256Of } from "../../trust/strict-jws.ts";
import { isBackupPath, MANIFEST_BYTES, MANIFEST_NAME, type Manifest, ManifestSchema } from "./manifest.ts";
import { DirectorySink } from "./sink.ts";
import { BLOCK_BYTES, readTarHeader } from "./tar.ts";

const CHUNK_BYTES = 1_048_576;

/**
 * Copies a backup, directory or archive, into an empty directory, and holds every file against the manifest: none more,
 * none less, none other. Throws BACKUP_UNUSABLE; what was copied until then is the caller's to remove.
 */
export async function extractBackup(
  from: string,
  into: string,
): Promise<{ manifest: Manifest; sha256: Sha256 }> {
  try {
    const isDirectory = (await stat(from)).isDirectory();
    const sink = new DirectorySink(into);
    const { digests, manifestBytes } = isDirectory ? await copyTree(from, sink) : await unpack(from, sink);
    if (manifestBytes === null) throw unusable(from, `it has no ${MANIFEST_NAME}: it was cut off`);
    const manifest = readManifest(manifestBytes, from);
    compare(manifest, digests, from);
    await sink.sync();
    return { manifest, sha256: sha256Of(manifestBytes) };
  } catch (error) {
    throw errnoOf(error) === "" ? error : unusable(from, reasonOf(error), error);
  }
}

interface Copied {
  readonly digests: ReadonlyMap<string, { readonly size: number; readonly sha256: Sha256 }>;
  readonly manifestBytes: Uint8Array | null;
}

const unusable = (path: string, why: string, cause?: unknown) =>
  fault("BACKUP_UNUSABLE", { path, why }, cause);

function readManifest(bytes: Uint8Array, from: string): Manifest {
  const parsed = parseDocument(bytes, ManifestSchema);
  if (parsed.ok) return parsed.value;
  throw unusable(from, `${MANIFEST_NAME}: ${parsed.path}: ${parsed.why}`);
}

function compare({ files, missing }: Manifest, digests: Copied["digests"], from: string): void {
  const named = new Set(files.map(({ path }) => path));
  if (named.size !== files.length) throw unusable(from, `${MANIFEST_NAME} names a file twice`);
  const surplus = [...digests.keys()].find((path) => !named.has(path));
  if (surplus !== undefined) throw unusable(from, `"${surplus}" is not in ${MANIFEST_NAME}`);
  for (const { path, size, sha256 } of files) {
    const found = digests.get(path);
    if (found === undefined) throw unusable(from, `"${path}" is missing`);
    if (found.size !== size || found.sha256 !== sha256) throw unusable(from, `"${path}" was changed`);
  }
  for (const path of ["control.db", "admin.key", "keys/trust.json", "keys/enrol.pem", "keys/bearer.key"]) {
    if (!named.has(path) || missing.includes(path)) throw unusable(from, `it holds no "${path}"`);
  }
}

async function copyTree(from: string, sink: DirectorySink): Promise<Copied> {
  const manifestBytes = await readWhole(join(from, MANIFEST_NAME));
  if (manifestBytes === null) return { digests: new Map(), manifestBytes };
  const digests = new Map<string, { size: number; sha256: Sha256 }>();
  for (const { path } of readManifest(manifestBytes, from).files) {
    if (digests.has(path)) throw unusable(from, `${MANIFEST_NAME} names a file twice`);
    const file = await openFile(join(from, path));
    if (file === null) continue; // named as missing when all is compared
    try {
      const { size } = await file.stat();
      const sha256 = await sink.add(path, size, bytesOf(file, 0, size));
      digests.set(path, { size, sha256 });
    } finally {
      await file.close();
    }
  }
  return { digests, manifestBytes };
}

async function unpack(from: string, sink: DirectorySink): Promise<Copied> {
  const file = await openFile(from);
  if (file === null) throw unusable(from, "it is not a regular file");
  try {
    const digests = new Map<string, { size: number; sha256: Sha256 }>();
    let manifestBytes: Uint8Array | null = null;
    for (let offset = 0; ; ) {
      const entry = readTarHeader(await readExactly(file, offset, BLOCK_BYTES, from));
      if (typeof entry === "string") throw unusable(from, entry);
      if (entry === null) return { digests, manifestBytes };
      const { path, size } = entry;
      offset += BLOCK_BYTES;
      if (manifestBytes !== null) throw unusable(from, `"${path}" comes after ${MANIFEST_NAME}`);
      if (path === MANIFEST_NAME) {
        if (size > MANIFEST_BYTES) throw unusable(from, `${MANIFEST_NAME} is too large`);
        manifestBytes = await readExactly(file, offset, size, from);
      } else {
        if (!isBackupPath(path)) throw unusable(from, `"${path}" is no path of a backup`);
        if (digests.has(path)) throw unusable(from, `"${path}" is in it twice`);
        if (offset + size > (await file.stat()).size) throw unusable(from, "it is cut off");
        digests.set(path, { size, sha256: await sink.add(path, size, bytesOf(file, offset, size)) });
      }
      offset += Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
    }
  } finally {
    await file.close();
  }
}

async function openFile(path: string): Promise<FileHandle | null> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (["ENOENT", "ELOOP"].includes(errnoOf(error))) return null;
    throw error;
  }
  if ((await file.stat()).isFile()) return file;
  await file.close();
  return null;
}

async function readWhole(path: string): Promise<Uint8Array | null> {
  const file = await openFile(path);
  if (file === null) return null;
  try {
    return (await file.stat()).size > MANIFEST_BYTES ? null : new Uint8Array(await file.readFile());
  } finally {
    await file.close();
  }
}

async function readExactly(
  file: FileHandle,
  offset: number,
  length: number,
  from: string,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let read = 0; read < length; ) {
    const { bytesRead } = await file.read(bytes, read, length - read, offset + read);
    if (bytesRead === 0) throw unusable(from, "it is cut off");
    read += bytesRead;
  }
  return bytes;
}

async function* bytesOf(file: FileHandle, offset: number, size: number): AsyncGenerator<Uint8Array> {
  for (let read = 0; read < size; ) {
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, size - read));
    const { bytesRead } = await file.read(chunk, 0, chunk.length, offset + read);
    if (bytesRead === 0) return;
    read += bytesRead;
    yield chunk.subarray(0, bytesRead);
  }
}
