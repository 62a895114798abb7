import { lstat, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { sql } from "kysely";
import { errnoOf, fault, reasonOf } from "../../fault/fault.ts";
import type { Sha256 } from "../../protocol/ids.ts";
import { type DataPaths, dataPaths, lockDataDirectory, prepareDataDirectory } from "../data/data-dir.ts";
import { syncDirectory, writeDurably } from "../data/durable-file.ts";
import { LedgerFile, type LedgerLine, readLedger, summarise } from "../data/ledger.ts";
import { exists, keyPaths, readTrustDocument } from "../keys/key-files.ts";
import { readRing } from "../keys/keyring.ts";
import { holdOpenJobs } from "../store/held-jobs.ts";
import { migrate } from "../store/migrations.ts";
import { openSqlite } from "../store/sqlite.ts";
import { ASIDE_NAME, finishRestore } from "./finish-restore.ts";
import type { Manifest } from "./manifest.ts";
import { type Replayed, replayLedger } from "./replay.ts";
import { extractBackup } from "./source.ts";

export interface RestoreOptions {
  readonly from: string;
  readonly dataDir: string;
  /** Replaces a Control Plane that is there; what was there is put aside. */
  readonly inPlace: boolean;
  /** A ledger saved elsewhere, when the data directory has none of its own. */
  readonly ledger: string | null;
  readonly nowMs: number;
}

export interface Restored {
  readonly era: number;
  readonly manifest: Manifest;
  readonly sha256: Sha256;
  readonly replayed: Replayed;
  /** Whether there was a ledger to replay. */
  readonly ledgerFound: boolean;
  readonly heldJobs: number;
  /** Where what was there before is now; null when there was nothing. */
  readonly aside: string | null;
}

/** Key sets made since the backup have numbers nobody remembers when the ledger is lost: the next one is beyond them. */
const TRUST_SEQ_LEAP = 1000;

/**
 * Brings a Control Plane back from a backup: the only way that tells agents of it. Everything is copied beside, checked,
 * and told what happened since, before one rename makes it valid; a cut before that changes nothing, one after it is
 * made good at the next start. Throws BACKUP_UNUSABLE, RESTORE_TARGET, LEDGER_DAMAGED, CONTROL_DATA_DIR,
 * CONTROL_DATA_LOCKED, CONTROL_KEY_UNUSABLE, CONTROL_DATABASE.
 */
export async function restore(options: RestoreOptions): Promise<Restored> {
  const paths = dataPaths(options.dataDir);
  await checkTarget(paths, options.inPlace);
  await prepareDataDirectory(options.dataDir);
  const lock = await lockDataDirectory(paths);
  try {
    await finishRestore(paths); // one that was cut off is a state to start from like any other
    await checkTarget(paths, options.inPlace);
    return await restoreLocked(paths, options);
  } finally {
    lock.release();
  }
}

async function restoreLocked(paths: DataPaths, options: RestoreOptions): Promise<Restored> {
  const { nowMs } = options;
  const staged = dataPaths(paths.restoring);
  await rm(staged.root, { recursive: true, force: true });
  try {
    await mkdir(staged.root, { mode: 0o700 });
    const { manifest, sha256 } = await extractBackup(resolve(options.from), staged.root);
    await mkdir(staged.blobs, { recursive: true, mode: 0o700 });
    await mkdir(staged.logs, { recursive: true, mode: 0o700 });
    const lines = await ledgerLines(paths, options.ledger);
    await checkKeys(staged, paths);
    const known = summarise(lines);
    // Two restores that know nothing of each other must not get one era, so it also follows the clock.
    const era = Math.max(manifest.era + 1, known.era + 1, Math.floor(nowMs / 1000));
    const { replayed, heldJobs } = await amendDatabase(staged.database, lines, era);
    await writeDurably(staged.installed, "");
    await writeDurably(join(staged.root, ASIDE_NAME), `before-era-${era}`);
    await adoptLedger(paths, options.ledger);
    const ledger = LedgerFile.open(paths.ledger);
    ledger.append({ type: "era", era, backup: sha256 }, nowMs);
    const seq = Math.max(manifest.trust_seq, known.trustSeq) + TRUST_SEQ_LEAP;
    ledger.append({ type: "trust", seq }, nowMs);
    await rename(staged.root, paths.restored);
    await syncDirectory(paths.root);
    const aside = await finishRestore(paths);
    return { era, manifest, sha256, replayed, ledgerFound: lines.length > 0, heldJobs, aside };
  } finally {
    await rm(staged.root, { recursive: true, force: true });
  }
}

/** Names that do not make a directory somebody's: what a lock and a cut restore leave, and what is kept beside backups. */
const HARMLESS =
  /^(ledger\.jsonl|secrets\.key|lock(\.pid)?(-journal)?|restore\.(tmp|ready)|blobs|logs|lost\+found)$/;

async function checkTarget(paths: DataPaths, inPlace: boolean): Promise<void> {
  const refuse = (why: string, cause?: unknown) => fault("RESTORE_TARGET", { path: paths.root, why }, cause);
  let names: string[];
  try {
    if (!(await lstat(paths.root)).isDirectory()) throw refuse("it is not a directory");
    names = await readdir(paths.root);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return;
    throw errnoOf(error) === "" ? error : refuse(reasonOf(error), error);
  }
  if (inPlace) return;
  const found = names.find((name) => !HARMLESS.test(name));
  if (found !== undefined) throw refuse(`it is not empty: there is "${found}"`);
  for (const name of ["blobs", "logs"].filter((one) => names.includes(one))) {
    if ((await readdir(join(paths.root, name))).length > 0)
      throw refuse(`it is not empty: there is "${name}"`);
  }
}

async function ledgerLines(paths: DataPaths, elsewhere: string | null): Promise<LedgerLine[]> {
  const own = readLedger(paths.ledger);
  if (elsewhere === null) return own;
  const saved = readLedger(resolve(elsewhere));
  if (saved.length === 0) {
    throw fault("LEDGER_DAMAGED", { path: elsewhere, line: 0, why: "there is nothing in it" });
  }
  if (own.length === 0) return saved;
  // Taken over before, by a restore that was cut off or has been done.
  if (JSON.stringify(own.slice(0, saved.length)) === JSON.stringify(saved)) return own;
  const why = "it has a ledger of its own, which is replayed without --ledger";
  throw fault("RESTORE_TARGET", { path: paths.root, why });
}

/** A ledger saved elsewhere becomes this directory's. */
async function adoptLedger(paths: DataPaths, elsewhere: string | null): Promise<void> {
  if (elsewhere === null || readLedger(paths.ledger).length > 0) return;
  const text = readLedger(resolve(elsewhere)).map((line) => `${JSON.stringify(line)}\n`);
  await writeDurably(paths.ledger, text.join(""));
}

/** The backup's keys open, and in place they are those of the Control Plane that is there. */
async function checkKeys(staged: DataPaths, paths: DataPaths): Promise<void> {
  const nothing = summarise([]);
  const ring = await readRing(staged.keys, { append: () => undefined, summary: () => nothing });
  if (!(await exists(paths.keys))) return;
  const there = await readTrustDocument(keyPaths(paths.keys).trust).catch(() => null); // broken keys are a reason to restore
  if (there !== null && there.root.x !== ring.root.jwk.x) {
    const why = "the Control Plane in it has another trust root than the backup";
    throw fault("RESTORE_TARGET", { path: paths.root, why });
  }
}

async function amendDatabase(
  path: string,
  lines: readonly LedgerLine[],
  era: number,
): Promise<{ replayed: Replayed; heldJobs: number }> {
  const db = openSqlite(path);
  try {
    await migrate(db);
    const done = await db.transaction().execute(async (trx) => {
      const replayed = await replayLedger(trx, lines);
      const heldJobs = await holdOpenJobs(trx);
      await trx
        .insertInto("meta")
        .values({ key: "era", value: String(era) })
        .onConflict((conflict) => conflict.column("key").doUpdateSet({ value: String(era) }))
        .execute();
      return { replayed, heldJobs };
    });
    await sql`PRAGMA journal_mode = DELETE`.execute(db); // one file again, with nothing left beside it
    return done;
  } finally {
    await db.destroy();
  }
}
