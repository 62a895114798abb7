import { type Database, SQLiteError } from "bun:sqlite";
import { fault, reasonOf } from "../fault/fault.ts";

/** Number of the journal's format; read with the two before it once they exist. */
const JOURNAL_FORMAT = 1;

/** Free-standing values of the journal, each written in the transaction of what it belongs to. */
export type MetaKey =
  | "chain"
  | "pending_rid"
  | "window"
  | "slot"
  | "interval_s"
  | "last_beat"
  | "last_failure"
  | "receipt_head"
  | "receipt_base"
  | "license"
  | "trust"
  | "orders"
  | "hold"
  | "quarantine"
  | "terminal"
  | "recover"
  | "rekeyed"
  | "reseal";

const TABLES = [
  "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
  `CREATE TABLE jobs (
     jti TEXT NOT NULL,
     attempt INTEGER NOT NULL,
     seq INTEGER NOT NULL,
     state TEXT NOT NULL,
     claims TEXT NOT NULL,
     envelope_sha256 TEXT NOT NULL,
     grant_json TEXT,
     accepted_at INTEGER NOT NULL,
     started_at INTEGER,
     step TEXT,
     step_at INTEGER,
     outcome TEXT,
     reason TEXT,
     finished_at INTEGER,
     log_size INTEGER,
     log_sent INTEGER NOT NULL DEFAULT 0,
     PRIMARY KEY (jti, attempt)
   ) STRICT`,
  "CREATE INDEX jobs_by_state ON jobs (state)",
  `CREATE TABLE receipts (
     seq INTEGER PRIMARY KEY,
     sha256 TEXT NOT NULL UNIQUE,
     jws TEXT NOT NULL,
     jti TEXT NOT NULL,
     attempt INTEGER NOT NULL,
     acked_at INTEGER
   ) STRICT`,
  "CREATE INDEX receipts_open ON receipts (seq) WHERE acked_at IS NULL",
  "CREATE TABLE rejected (envelope_sha256 TEXT PRIMARY KEY, code TEXT NOT NULL) STRICT, WITHOUT ROWID",
];

/** Brings an open database to the current format. Throws STATE_FORMAT_NEWER for one a later version wrote. */
export function prepareJournal(db: Database, path: string): void {
  db.run("PRAGMA journal_mode = WAL");
  db.run("PRAGMA synchronous = FULL");
  db.run("PRAGMA busy_timeout = 2000");
  db.run("PRAGMA journal_size_limit = 4194304");
  if (formatOf(db, path) === JOURNAL_FORMAT) return;
  db.transaction(() => {
    for (const table of TABLES) db.run(table);
    db.run(`PRAGMA user_version = ${JOURNAL_FORMAT}`);
  })();
}

/** Throws unless a database opened for reading is a journal this version can read. */
export function checkJournal(db: Database, path: string): void {
  db.run("PRAGMA busy_timeout = 2000");
  if (formatOf(db, path) === 0)
    throw fault("JOURNAL_UNUSABLE", { path, why: "nothing was written to it yet" });
}

function formatOf(db: Database, path: string): number {
  const row = db.query<{ user_version: number }, []>("PRAGMA user_version").get();
  const found = Number(row?.user_version ?? 0);
  if (found > JOURNAL_FORMAT) throw fault("STATE_FORMAT_NEWER", { path, found, known: JOURNAL_FORMAT });
  return found;
}

/** What SQLite complains of as a fault; whatever else was thrown is not the disk's doing and stays what it is. */
export function journalFault(path: string, error: unknown): unknown {
  if (!(error instanceof SQLiteError)) return error;
  if (error.code === "SQLITE_FULL" || /ENOSPC/.test(error.message))
    return fault("STATE_DISK_FULL", { path }, error);
  return fault("JOURNAL_UNUSABLE", { path, why: reasonOf(error) }, error);
}
