import { Database } from "bun:sqlite";
import { randomBytes } from "node:crypto";
import { constants, existsSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rm } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { errnoOf, fault, isFault, reasonOf } from "../../fault/fault.ts";
import type { Sha256 } from "../../protocol/ids.ts";
import { sha256Of } from "../../trust/strict-jws.ts";
import { openTrust } from "../../trust/trust-set.ts";
import type { DataPaths } from "../data/data-dir.ts";
import { keyPaths, readTrustDocument } from "../keys/key-files.ts";
import { isBackupPath, MANIFEST_NAME, type Manifest } from "./manifest.ts";
import { makeBackup, type Sink } from "./sink.ts";

export interface BackupMade {
  readonly path: string;
  /** SHA-256 of the manifest, which names everything else by its own. */
  readonly sha256: Sha256;
  readonly manifest: Manifest;
}

/**
 * Copies a Control Plane while it serves. The database first, as of one instant; every blob it names was on disk before
 * it was named, every log has at least the bytes it counts, and a key is on disk before anything names it. Throws
 * CONTROL_DATA_DIR, CONTROL_DATABASE, OUTPUT_EXISTS, OUTPUT_UNWRITABLE.
 */
export async function backUp(
  paths: DataPaths,
  out: string,
  about: { readonly version: string; readonly nowMs: number },
): Promise<BackupMade> {
  const refuse = (why: string) => fault("CONTROL_DATA_DIR", { path: paths.root, why });
  if (!existsSync(paths.installed)) throw refuse("there is no Control Plane in it to back up");
  if (existsSync(paths.restored)) throw refuse("a restore into it was cut off: start the Control Plane once");
  const path = resolve(out);
  const workshop = join(dirname(path), `.backup.${randomBytes(6).toString("hex")}.tmp`);
  try {
    await mkdir(workshop, { mode: 0o700 });
    const snapshot = join(workshop, "control.db");
    const facts = snapshotDatabase(paths.database, snapshot);
    const made = await makeBackup(path, Math.floor(about.nowMs / 1000), (sink) =>
      fill(sink, snapshot, { paths, facts, about }),
    );
    return { path, ...made };
  } catch (error) {
    if (isFault(error) || errnoOf(error) === "") throw error;
    throw fault("OUTPUT_UNWRITABLE", { path, why: reasonOf(error) }, error);
  } finally {
    await rm(workshop, { recursive: true, force: true });
  }
}

/** What the database says is on disk beside it. */
interface DatabaseFacts {
  readonly era: number;
  readonly blobs: readonly { readonly account_id: string; readonly sha256: string; readonly size: number }[];
  readonly logs: readonly {
    readonly account_id: string;
    readonly job_id: string;
    readonly attempt: number;
    readonly stream: string;
    readonly size: number;
  }[];
}

function snapshotDatabase(from: string, to: string): DatabaseFacts {
  try {
    using live = new Database(from, { readwrite: true, create: false });
    live.run("PRAGMA busy_timeout = 5000");
    live.run("VACUUM INTO ?", [to]);
    using copy = new Database(to, { readonly: true });
    const era = copy.query<{ value: string }, []>("select value from meta where key = 'era'").get();
    return {
      era: Number(era?.value ?? 1),
      blobs: copy
        .query<DatabaseFacts["blobs"][number], []>("select account_id, sha256, size from blobs")
        .all(),
      logs: copy
        .query<DatabaseFacts["logs"][number], []>(
          "select account_id, job_id, attempt, stream, size from logs where size > 0",
        )
        .all(),
    };
  } catch (error) {
    throw fault("CONTROL_DATABASE", { why: reasonOf(error) }, error);
  }
}

async function fill(
  sink: Sink,
  snapshot: string,
  {
    paths,
    facts,
    about,
  }: {
    readonly paths: DataPaths;
    readonly facts: DatabaseFacts;
    readonly about: { readonly version: string; readonly nowMs: number };
  },
): Promise<{ manifest: Manifest; sha256: Sha256 }> {
  const taken: Manifest["files"] = [];
  const missing: string[] = [];
  /** Copies `size` bytes, or all there are. A file that is gone is noted, unless there is no backup without it. */
  const take = async (source: string, path: string, size: number | null, needed: boolean) => {
    const file = await openSource(source, size);
    if (typeof file !== "string") {
      taken.push({ path, size: file.size, sha256: await copyInto(sink, path, file) });
    } else if (needed) {
      throw fault("CONTROL_DATA_DIR", { path: paths.root, why: `"${path}": ${file}` });
    } else {
      missing.push(path);
    }
  };
  await take(snapshot, "control.db", null, true);
  await take(paths.adminKey, "admin.key", null, true);
  // The key set before the keys it names: one that is made meanwhile is not named, and one too many does no harm.
  const document = await readTrustDocument(keyPaths(paths.keys).trust);
  const { claims } = await openTrust(document, 0);
  await take(keyPaths(paths.keys).trust, "keys/trust.json", null, true);
  for (const path of await keyFiles(paths)) await take(join(paths.root, path), path, null, true);
  for (const { account_id, sha256, size } of facts.blobs) {
    const path = `blobs/${account_id}/${sha256}`;
    await take(join(paths.root, path), path, size, false);
  }
  for (const { account_id, job_id, attempt, stream, size } of facts.logs) {
    const path = `logs/${account_id}/${job_id}/${attempt}.${stream}.log`;
    await take(join(paths.root, path), path, size, false);
  }
  const manifest: Manifest = {
    v: 1,
    format: "agentina-control-backup",
    control_plane: claims.iss,
    version: about.version,
    era: facts.era,
    trust_seq: claims.seq,
    created_at: about.nowMs,
    files: taken,
    missing,
  };
  const bytes = Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`);
  await sink.add(MANIFEST_NAME, bytes.length, once(bytes));
  return { manifest, sha256: sha256Of(bytes) };
}

async function keyFiles(paths: DataPaths): Promise<string[]> {
  const entries = await readdir(paths.keys, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(paths.root, join(entry.parentPath, entry.name)))
    .filter((path) => isBackupPath(path) && path !== "keys/trust.json")
    .sort();
}

interface Source {
  readonly file: FileHandle;
  readonly size: number;
}

/** The file and how many of its bytes count; a string says why it cannot be had. */
async function openSource(path: string, size: number | null): Promise<Source | string> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return "it is missing";
    throw error;
  }
  const stat = await file.stat();
  if (stat.isFile() && stat.size >= (size ?? 0)) return { file, size: size ?? stat.size };
  await file.close();
  return stat.isFile() ? `it has ${stat.size} bytes of ${size}` : "it is not a regular file";
}

async function copyInto(sink: Sink, path: string, { file, size }: Source): Promise<Sha256> {
  try {
    return await sink.add(
      path,
      size,
      file.createReadStream({ autoClose: false }) as AsyncIterable<Uint8Array>,
    );
  } finally {
    await file.close();
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
