import { closeSync, constants, fstatSync, openSync, readSync, statSync } from "node:fs";
import { errnoOf, type Fault, fault, isFault, reasonOf } from "../fault/fault.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import { LogReplySchema, ROUTES } from "../protocol/wire.ts";
import type { Log } from "./agent-log.ts";
import type { Clock, Timers } from "./clock.ts";
import type { Journal, UnsentLog } from "./journal.ts";
import type { Session } from "./session.ts";
import { refusalOf } from "./transport.ts";

export interface ShipperDeps {
  readonly journal: Journal;
  readonly session: Session;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  readonly logPath: (jti: string, attempt: number) => string;
}

const TICK_MS = 250;
const SEND_AT_BYTES = 65_536;
const QUIET_MS = 10_000;
const WATCHED_MS = 1_000;
const RETRY_MIN_MS = 5_000;
const RETRY_MAX_MS = 60_000;
/** A server that says so more often does not know itself how long the log is. */
const MISMATCHES_MAX = 3;
/** Refusals after which the server will never take more of a log. */
const FINAL_REFUSALS: readonly string[] = ["LEASE_NOT_HELD", "API_NOT_FOUND", "API_BODY_OVERSIZED"];

interface Progress {
  sent: number;
  watched: boolean;
  /** Not before this time unless 64 KiB wait. */
  nextAt: number;
  /** Not before this time at all: after a failure. */
  retryAt: number;
  failures: number;
  mismatches: number;
  /** The server will never take more of this log; what is on disk stays there. */
  closed: boolean;
}

/**
 * Brings job logs to the Control Plane while jobs run and after they ended: at once when 64 KiB wait, every second
 * while someone reads along, else every ten. The file on disk is the spool, so a cut network loses nothing.
 */
export class LogShipper {
  private readonly deps: ShipperDeps;
  private readonly progress = new Map<string, Progress>();
  private readonly over = new AbortController();
  private forget: (() => void) | null = null;
  private round: Promise<void> | null = null;
  private ending = false;

  constructor(deps: ShipperDeps) {
    this.deps = deps;
  }

  /** Looks after every log that is not wholly sent; sleeps by itself when there is none. */
  wake(): void {
    if (!this.ending && this.round === null) this.lookIn(TICK_MS);
  }

  /**
   * The end of the agent's life: no further rounds, the one in flight to its end, then what is there of every log. Gives
   * up when `signal` aborts; what is left is on disk and sent after the next start.
   */
  async end(signal: AbortSignal): Promise<void> {
    this.ending = true;
    this.forget?.();
    this.forget = null;
    signal.addEventListener("abort", () => this.over.abort(), { once: true });
    if (signal.aborted) this.over.abort();
    await this.round;
    await this.sendAll(true);
  }

  private lookIn(ms: number): void {
    this.forget?.();
    this.forget = this.deps.timers.after(ms, () => {
      this.forget = null;
      this.round = this.sendAll(false).then((again) => {
        this.round = null;
        if (again !== null && !this.ending) this.lookIn(again);
      });
    });
  }

  /** Sends what is due, or with `all` whatever is there. Returns after how many milliseconds to look again, if at all. */
  private async sendAll(all: boolean): Promise<number | null> {
    try {
      for (const row of this.unsent()) await this.ship(row, all);
      return this.nextLookMs(this.unsent());
    } catch (error) {
      if (!isFault(error)) throw error;
      this.deps.log("warn", "log.unsent", { code: error.code, why: error.message }); // the journal cannot be read now
      return RETRY_MIN_MS;
    }
  }

  private unsent(): UnsentLog[] {
    const rows = this.deps.journal.unsentLogs();
    const keys = new Set(rows.map(keyOf));
    for (const key of this.progress.keys()) if (!keys.has(key)) this.progress.delete(key);
    return rows.filter((row) => row.ended === 1 || !this.of(row).closed);
  }

  private nextLookMs(rows: readonly UnsentLog[]): number | null {
    if (rows.length === 0) return null;
    const now = this.deps.clock.bootMs();
    return Math.max(TICK_MS, Math.min(...rows.map((row) => this.of(row).retryAt - now)));
  }

  private of(row: UnsentLog): Progress {
    const known = this.progress.get(keyOf(row));
    if (known) return known;
    const fresh: Progress = {
      sent: row.logSent,
      watched: false,
      nextAt: 0,
      retryAt: 0,
      failures: 0,
      mismatches: 0,
      closed: false,
    };
    this.progress.set(keyOf(row), fresh);
    return fresh;
  }

  private async ship(row: UnsentLog, all: boolean): Promise<void> {
    const state = this.of(row);
    if (!all && this.deps.clock.bootMs() < state.retryAt) return;
    try {
      if (state.closed) this.close(row, state);
      let more = !state.closed;
      while (more) more = await this.shipChunk(row, state, all || row.ended === 1);
    } catch (error) {
      if (!isFault(error)) throw error;
      if (!this.over.signal.aborted) this.onFault(row, state, error);
    }
  }

  /** Sends what is there, as much as one request carries. Returns whether to go on at once. */
  private async shipChunk(row: UnsentLog, state: Progress, hurry: boolean): Promise<boolean> {
    const { clock, logPath } = this.deps;
    if (this.over.signal.aborted) return false;
    const chunk = readFrom(logPath(row.jti, row.attempt), state.sent, row.logSize);
    if (chunk.length === 0) {
      if (row.ended === 1) this.close(row, state); // the file is shorter than its receipt says: there is no more
      return false;
    }
    if (!hurry && clock.bootMs() < state.nextAt && chunk.length < SEND_AT_BYTES) return false;
    await this.send(row, state, chunk);
    // A running job may write faster than this can send; the other logs have their turn in between.
    return hurry && (row.logSize === null || state.sent < row.logSize);
  }

  private async send(row: UnsentLog, state: Progress, chunk: Uint8Array): Promise<void> {
    const path = `${ROUTES.log(row.jti, row.attempt)}?stream=main&offset=${state.sent}`;
    const reply = await this.deps.session.send({
      method: "PUT",
      path,
      headers: { "content-type": "application/octet-stream" },
      body: chunk,
      maxReplyBytes: 4096,
      accept: "application/json",
      signal: this.over.signal,
    });
    const parsed = parseDocument(reply.body, LogReplySchema);
    if (!parsed.ok) throw fault("WIRE_REPLY_MALFORMED", { url: path, why: `${parsed.path}: ${parsed.why}` });
    const { stored, watched } = parsed.value;
    if (stored <= state.sent) throw fault("WIRE_REPLY_MALFORMED", { url: path, why: "it stored nothing" });
    // This reply is not signed: a number beyond what there is would leave the rest unsent for good.
    const here = statSync(this.deps.logPath(row.jti, row.attempt), { throwIfNoEntry: false });
    if (stored > (here?.size ?? 0)) {
      throw fault("WIRE_REPLY_MALFORMED", { url: path, why: "it stored more than there is" });
    }
    state.sent = stored;
    state.watched = watched;
    state.failures = 0;
    state.nextAt = this.deps.clock.bootMs() + (watched ? WATCHED_MS : QUIET_MS);
    this.deps.journal.markLogSent(row.jti, row.attempt, stored);
  }

  private onFault(row: UnsentLog, state: Progress, why: Fault): void {
    const problem = refusalOf(why)?.problem ?? null;
    if (problem === "API_OFFSET_MISMATCH" && state.sent > 0 && state.mismatches < MISMATCHES_MAX) {
      // The server's length is the truth, and it tells it to whoever begins at the beginning.
      state.sent = 0;
      state.nextAt = 0;
      state.mismatches += 1;
      return;
    }
    this.deps.log("warn", "log.unsent", { job: row.jti, code: problem ?? why.code, why: why.message });
    const final = problem === "API_OFFSET_MISMATCH" || FINAL_REFUSALS.includes(problem ?? "");
    if (final) {
      this.close(row, state);
      return;
    }
    state.failures += 1;
    const askedMs = why.code === "WIRE_RATE_LIMITED" ? Number(why.params["seconds"]) * 1000 : 0;
    const waitMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.min(state.failures - 1, 8));
    state.retryAt = this.deps.clock.bootMs() + Math.max(askedMs, waitMs);
  }

  /** No more of this log will be sent. One that may still grow is looked at once more when its attempt has ended. */
  private close(row: UnsentLog, state: Progress): void {
    state.closed = true;
    if (row.logSize === null) return;
    this.deps.journal.markLogSent(row.jti, row.attempt, Math.max(state.sent, row.logSize));
  }
}

const keyOf = ({ jti, attempt }: UnsentLog) => `${jti}/${attempt}`;

/** What a log holds from `offset`, as much as one request carries, and nothing beyond its final length once it has one. */
function readFrom(path: string, offset: number, finalSize: number | null): Uint8Array {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return new Uint8Array(); // the worker has not begun to write yet
    throw fault("STATE_FILE_UNREADABLE", { path, why: reasonOf(error) }, error);
  }
  try {
    const end = Math.min(fstatSync(fd).size, finalSize ?? Number.POSITIVE_INFINITY);
    const size = Math.min(Math.max(0, end - offset), LIMITS.LOG_CHUNK_BYTES);
    const chunk = new Uint8Array(size);
    return chunk.subarray(0, readSync(fd, chunk, 0, size, offset));
  } finally {
    closeSync(fd);
  }
}
