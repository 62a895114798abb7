import { Database } from "bun:sqlite";
import * as v from "valibot";
import { fault, invariant } from "../fault/fault.ts";
import { encodeBase64url } from "../protocol/base64url.ts";
import { type Sha256, Sha256Schema } from "../protocol/ids.ts";
import type { JobClaims } from "../protocol/job.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import type { Outcome } from "../protocol/outcome.ts";
import { FIRST_PREV_SHA256, type Grant } from "../protocol/receipt.ts";
import { type Slot, SlotSchema } from "../protocol/wire.ts";
import type { VerifiedJob } from "../trust/job.ts";
import { EMPTY_WINDOW, type ReplayWindow } from "../trust/replay-window.ts";
import { makePrivateFile } from "./durable-file.ts";
import { type JobRow, jobRowOf, type RawRow } from "./job-row.ts";
import { type JobEvent, type JobState, step } from "./job-table.ts";
import { checkJournal, journalFault, type MetaKey, prepareJournal } from "./journal-schema.ts";

/** A receipt that waits for its acknowledgement. */
export interface OpenReceipt {
  readonly seq: number;
  readonly sha256: Sha256;
  readonly jws: string;
}

/** An attempt whose log may have to be sent. `logSize` is its final length, null while it may still grow. */
export interface UnsentLog {
  readonly jti: string;
  readonly attempt: number;
  readonly logSize: number | null;
  readonly logSent: number;
  /** 1 once the attempt has ended. */
  readonly ended: 0 | 1;
}

/** Position in the heartbeat chain: what the next beat shows. */
export interface ChainPosition {
  readonly n: number;
  readonly nonce: string;
}

const KEPT_ATTEMPTS = 1000;
/** So long after it was taken an envelope may still be in its time, clocks being what they are. */
const REPLAYABLE_MS = (LIMITS.JOB_LIFETIME_S + 2 * LIMITS.CLOCK_TOLERANCE_S) * 1000;
const WindowSchema = v.strictObject({
  /** The first format had none: it knew only the first epoch. */
  epoch: v.optional(v.number(), 1),
  highest: v.number(),
  bits: v.string(),
});

/**
 * What the agent knows for certain, in one SQLite file: WAL with full sync, so a committed line survives a power cut.
 * All writes are synchronous and on one thread; a caller groups what must stand or fall together in `atomically`.
 */
export class Journal {
  private readonly db: Database;
  private readonly path: string;

  private constructor(db: Database, path: string) {
    this.db = db;
    this.path = path;
  }

  /** Opens or makes the journal. Throws JOURNAL_UNUSABLE, STATE_FORMAT_NEWER. */
  static open(path: string, mode: "write" | "read" = "write"): Journal {
    let db: Database | null = null;
    try {
      if (mode === "write") makePrivateFile(path);
      db =
        mode === "write" ? new Database(path, { readwrite: true }) : new Database(path, { readonly: true });
      if (mode === "write") prepareJournal(db, path);
      else checkJournal(db, path);
      return new Journal(db, path);
    } catch (error) {
      db?.close();
      throw journalFault(path, error);
    }
  }

  close(): void {
    this.db.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Runs `fn` in one transaction: all of its writes or none. A disk fault leaves the journal as it was. */
  atomically<T>(fn: () => T): T {
    try {
      return this.db.inTransaction ? fn() : this.db.transaction(fn).immediate();
    } catch (error) {
      throw journalFault(this.path, error);
    }
  }

  readMeta(key: MetaKey): string | null {
    return this.read<{ value: string }>("SELECT value FROM meta WHERE key = ?", [key])[0]?.value ?? null;
  }

  writeMeta(key: MetaKey, value: string): void {
    this.write("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", [
      key,
      value,
    ]);
  }

  clearMeta(...keys: readonly MetaKey[]): void {
    for (const key of keys) this.write("DELETE FROM meta WHERE key = ?", [key]);
  }

  /** A value that is kept as JSON; null when there is none. */
  readDocument<S extends v.GenericSchema>(key: MetaKey, schema: S): v.InferOutput<S> | null {
    const text = this.readMeta(key);
    return text === null ? null : this.parsed(text, schema);
  }

  writeDocument(key: MetaKey, value: object): void {
    this.writeMeta(key, JSON.stringify(value));
  }

  /** The slot as the last reply told it; null before the first. */
  slot(): Slot | null {
    return this.readDocument("slot", SlotSchema);
  }

  chain(): ChainPosition | null {
    return this.readDocument("chain", v.strictObject({ n: v.number(), nonce: v.string() }));
  }

  setChain(position: ChainPosition): void {
    this.writeMeta("chain", JSON.stringify({ n: position.n, nonce: position.nonce }));
  }

  /** The offers seen within `epoch`: one of another epoch says nothing about this one's numbers. */
  window(epoch: number): ReplayWindow {
    const kept = this.readDocument("window", WindowSchema);
    if (kept === null || kept.epoch !== epoch) return EMPTY_WINDOW;
    return { highest: kept.highest, bits: new Uint8Array(Buffer.from(kept.bits, "base64url")) };
  }

  setWindow({ highest, bits }: ReplayWindow, epoch: number): void {
    this.writeDocument("window", { epoch, highest, bits: encodeBase64url(bits) });
  }

  /** Number and SHA-256 of the newest receipt: what the next one builds on. */
  receiptHead(): { seq: number; sha256: Sha256 } {
    const head = this.readDocument("receipt_head", v.strictObject({ seq: v.number(), sha256: Sha256Schema }));
    return head ?? { seq: 0, sha256: FIRST_PREV_SHA256 };
  }

  job(jti: string, attempt: number): JobRow | null {
    const [row] = this.read<RawRow>("SELECT * FROM jobs WHERE jti = ? AND attempt = ?", [jti, attempt]);
    return row ? this.rowOf(row) : null;
  }

  /** Attempts in the given states, oldest first. */
  jobsIn(states: readonly JobState[]): JobRow[] {
    const marks = states.map(() => "?").join(", ");
    const sql = `SELECT * FROM jobs WHERE state IN (${marks}) ORDER BY accepted_at, jti`;
    return this.read<RawRow>(sql, [...states]).map((row) => this.rowOf(row));
  }

  /** Attempts whose logs may hold bytes the Control Plane does not have, oldest first. */
  unsentLogs(): UnsentLog[] {
    return this.read<UnsentLog>(
      `SELECT jti, attempt, log_size AS logSize, log_sent AS logSent, outcome IS NOT NULL AS ended FROM jobs
       WHERE state IN ('running', 'stopping') OR log_sent < log_size ORDER BY accepted_at, jti`,
      [],
    );
  }

  /** The newest finished attempts, newest first. */
  lastOutcomes(count: number): JobRow[] {
    const sql = "SELECT * FROM jobs WHERE outcome IS NOT NULL ORDER BY finished_at DESC LIMIT ?";
    return this.read<RawRow>(sql, [count]).map((row) => this.rowOf(row));
  }

  /** Writes down a verified job as accepted: the only way an attempt comes to run. */
  acceptJob({ claims, envelopeSha256 }: VerifiedJob, grant: Grant, atMs: number): void {
    this.insertJob(claims, envelopeSha256, "accepted", grant, atMs);
  }

  /** Writes down an offer that will not run: handed back, or refused (its receipt comes in the same transaction). */
  addJob(claims: JobClaims, envelopeSha256: string, state: "returned" | "finished", atMs: number): void {
    this.insertJob(claims, envelopeSha256, state, null, atMs);
  }

  private insertJob(
    claims: JobClaims,
    envelopeSha256: string,
    state: JobState,
    grant: Grant | null,
    atMs: number,
  ): void {
    this.write(
      `INSERT INTO jobs (jti, attempt, seq, state, claims, envelope_sha256, grant_json, accepted_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (jti, attempt) DO UPDATE SET seq = excluded.seq, state = excluded.state, claims = excluded.claims,
         envelope_sha256 = excluded.envelope_sha256, grant_json = excluded.grant_json, accepted_at = excluded.accepted_at`,
      [
        claims.jti,
        claims.attempt,
        claims.seq,
        state,
        JSON.stringify(claims),
        envelopeSha256,
        grant && JSON.stringify(grant),
        atMs,
      ],
    );
  }

  /** Moves an attempt along the job table. */
  advance(row: Pick<JobRow, "jti" | "attempt" | "state">, event: JobEvent): JobState {
    const next = step(row.state, event);
    if (next !== row.state) {
      this.write("UPDATE jobs SET state = ? WHERE jti = ? AND attempt = ?", [next, row.jti, row.attempt]);
    }
    return next;
  }

  markStarted(row: JobRow, atMs: number): void {
    this.atomically(() => {
      this.advance(row, "start");
      this.write("UPDATE jobs SET started_at = ? WHERE jti = ? AND attempt = ?", [
        atMs,
        row.jti,
        row.attempt,
      ]);
    });
  }

  markStep(jti: string, attempt: number, name: string, atMs: number): void {
    this.write("UPDATE jobs SET step = ?, step_at = ? WHERE jti = ? AND attempt = ?", [
      name,
      atMs,
      jti,
      attempt,
    ]);
  }

  markLogSent(jti: string, attempt: number, bytes: number): void {
    this.write("UPDATE jobs SET log_sent = ? WHERE jti = ? AND attempt = ?", [bytes, jti, attempt]);
  }

  /** Ends an attempt with its receipt, in one transaction (the caller moved the state along). Its sealed secrets go. */
  finish(
    row: Pick<JobRow, "jti" | "attempt">,
    end: { outcome: Outcome; reason: string; atMs: number; logSize: number | null },
    receipt: { seq: number; sha256: Sha256; jws: string },
  ): void {
    invariant(
      receipt.seq === this.receiptHead().seq + 1,
      "receipts are written in the order of their numbers",
    );
    this.write(
      `UPDATE jobs SET outcome = ?, reason = ?, finished_at = ?, log_size = ?, claims = json_remove(claims, '$.secrets')
       WHERE jti = ? AND attempt = ?`,
      [end.outcome, end.reason, end.atMs, end.logSize, row.jti, row.attempt],
    );
    this.write("INSERT INTO receipts (seq, sha256, jws, jti, attempt) VALUES (?, ?, ?, ?, ?)", [
      receipt.seq,
      receipt.sha256,
      receipt.jws,
      row.jti,
      row.attempt,
    ]);
    this.writeMeta("receipt_head", JSON.stringify({ seq: receipt.seq, sha256: receipt.sha256 }));
  }

  /** The chain goes on from `head` when that is further than this journal's own: it was brought back from a copy. */
  continueReceipts(head: { seq: number; sha256: Sha256 }): void {
    if (head.seq <= this.receiptHead().seq) return;
    this.writeDocument("receipt_head", head);
    this.writeDocument("receipt_base", head);
  }

  /** A receipt by its number; null when it is not kept here. */
  receiptAt(seq: number): OpenReceipt | null {
    return this.read<OpenReceipt>("SELECT seq, sha256, jws FROM receipts WHERE seq = ?", [seq])[0] ?? null;
  }

  /** Every receipt that is kept, oldest first. */
  receipts(): OpenReceipt[] {
    return this.read<OpenReceipt>("SELECT seq, sha256, jws FROM receipts ORDER BY seq", []);
  }

  forgetReceipt(seq: number): void {
    this.write("DELETE FROM receipts WHERE seq = ?", [seq]);
  }

  /** Receipts not yet acknowledged, oldest first, as many as fit one beat. */
  openReceipts(): OpenReceipt[] {
    const sql = "SELECT seq, sha256, jws FROM receipts WHERE acked_at IS NULL ORDER BY seq LIMIT ?";
    const rows = this.read<OpenReceipt>(sql, [LIMITS.BEAT_RECEIPTS]);
    let bytes = 0;
    return rows.filter((row, index) => {
      bytes += row.jws.length;
      return index === 0 || bytes <= LIMITS.BEAT_RECEIPTS_BYTES;
    });
  }

  /** Takes an acknowledgement; one for a receipt that is unknown or already acknowledged changes nothing. */
  acknowledge(sha256: string, atMs: number): void {
    const sql = "SELECT jti, attempt FROM receipts WHERE sha256 = ? AND acked_at IS NULL";
    const [receipt] = this.read<{ jti: string; attempt: number }>(sql, [sha256]);
    if (!receipt) return;
    this.write("UPDATE receipts SET acked_at = ? WHERE sha256 = ?", [atMs, sha256]);
    const job = this.job(receipt.jti, receipt.attempt);
    if (job?.state === "finished") this.advance(job, "acknowledge");
  }

  /** Takes back the acknowledgement of an attempt's receipt, so that the next beat carries it again. */
  tellAgain(jti: string, attempt: number): void {
    this.write("UPDATE receipts SET acked_at = NULL WHERE jti = ? AND attempt = ?", [jti, attempt]);
  }

  /** The same for every receipt with a higher number, and its log: the server lost what it had acknowledged. */
  retellAfter(seq: number): void {
    this.write("UPDATE receipts SET acked_at = NULL WHERE seq > ?", [seq]);
    const lost = "SELECT jti, attempt FROM receipts WHERE seq > ?";
    this.write(`UPDATE jobs SET log_sent = 0 WHERE log_size > 0 AND (jti, attempt) IN (${lost})`, [seq]);
  }

  rejected(): { envelope_sha256: Sha256; code: string }[] {
    return this.read("SELECT * FROM rejected LIMIT ?", [LIMITS.BEAT_REJECTED]);
  }

  addRejected(envelopeSha256: string, code: string): void {
    this.write("INSERT INTO rejected VALUES (?, ?) ON CONFLICT DO NOTHING", [envelopeSha256, code]);
  }

  /** Forgets what a beat has told: rejections and hand-backs. */
  forgetTold(told: {
    rejected: readonly string[];
    returned: readonly { jti: string; attempt: number }[];
  }): void {
    for (const sha256 of told.rejected)
      this.write("DELETE FROM rejected WHERE envelope_sha256 = ?", [sha256]);
    for (const { jti, attempt } of told.returned) {
      this.write("DELETE FROM jobs WHERE jti = ? AND attempt = ? AND state = 'returned'", [jti, attempt]);
    }
  }

  /** Drops delivered attempts beyond the newest thousand whose envelopes, taken before `atMs`, have all ended. */
  compact(atMs: number): void {
    this.atomically(() => {
      this.write(
        `DELETE FROM jobs WHERE state = 'delivered' AND (log_size IS NULL OR log_sent >= log_size)
           AND accepted_at < ? AND rowid NOT IN (SELECT rowid FROM jobs ORDER BY accepted_at DESC LIMIT ?)`,
        [atMs - REPLAYABLE_MS, KEPT_ATTEMPTS],
      );
      this.write(
        "DELETE FROM receipts WHERE acked_at IS NOT NULL AND seq NOT IN (SELECT seq FROM receipts ORDER BY seq DESC LIMIT ?)",
        [KEPT_ATTEMPTS],
      );
    });
  }

  private write(sql: string, values: (string | number | null)[]): void {
    try {
      this.db.query(sql).run(...values);
    } catch (error) {
      throw journalFault(this.path, error);
    }
  }

  private read<Row>(sql: string, values: (string | number)[]): Row[] {
    try {
      return this.db.query<Row, (string | number)[]>(sql).all(...values);
    } catch (error) {
      throw journalFault(this.path, error);
    }
  }

  private rowOf(raw: RawRow): JobRow {
    return jobRowOf(raw, (text, schema) => this.parsed(text, schema));
  }

  private parsed<S extends v.GenericSchema>(text: string, schema: S): v.InferOutput<S> {
    const result = parseDocument(text, schema);
    if (!result.ok)
      throw fault("JOURNAL_UNUSABLE", { path: this.path, why: `${result.path}: ${result.why}` });
    return result.value;
  }
}
