import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { type Fault, fault, isFault, reasonOf } from "../fault/fault.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import { LogReplySchema, ROUTES } from "../protocol/wire.ts";
import type { Log } from "./agent-log.ts";
import type { Clock, Timers } from "./clock.ts";
import { errnoOf } from "./durable-file.ts";
import type { JobRow, Journal } from "./journal.ts";
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
const RETRY_MS = 5_000;

interface Progress {
  sent: number;
  watched: boolean;
  nextAt: number;
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
  private forget: (() => void) | null = null;
  private busy = false;

  constructor(deps: ShipperDeps) {
    this.deps = deps;
  }

  /** Looks after every log that is not wholly sent; sleeps by itself when there is none. */
  wake(): void {
    if (this.busy || this.forget) return;
    this.forget = this.deps.timers.after(TICK_MS, () => {
      this.forget = null;
      this.busy = true;
      void this.round().finally(() => {
        this.busy = false;
        if (this.pendingRows().length > 0) this.wake();
      });
    });
  }

  stop(): void {
    this.forget?.();
    this.forget = null;
  }

  /** Sends what is there of every log now, once; for the end of the agent's life. */
  async flush(): Promise<void> {
    for (const row of this.pendingRows()) await this.ship(row, true);
  }

  private pendingRows(): JobRow[] {
    const rows = this.deps.journal.jobsIn(["running", "stopping", "finished", "delivered"]);
    return rows.filter(
      (row) => (row.outcome === null || row.logSent < (row.logSize ?? 0)) && !this.of(row).closed,
    );
  }

  private async round(): Promise<void> {
    for (const row of this.pendingRows()) await this.ship(row, row.outcome !== null);
  }

  private of(row: JobRow): Progress {
    const key = `${row.jti}/${row.attempt}`;
    const known = this.progress.get(key);
    if (known) return known;
    const fresh = { sent: row.logSent, watched: false, nextAt: 0, closed: false };
    this.progress.set(key, fresh);
    return fresh;
  }

  private async ship(row: JobRow, ended: boolean): Promise<void> {
    const state = this.of(row);
    const now = this.deps.clock.bootMs();
    try {
      const chunk = readFrom(this.deps.logPath(row.jti, row.attempt), state.sent);
      if (chunk.length === 0) {
        if (ended) this.close(row, state);
        return;
      }
      if (now < state.nextAt && chunk.length < SEND_AT_BYTES && !ended) return;
      await this.send(row, state, chunk);
      state.nextAt = this.deps.clock.bootMs() + (state.watched ? WATCHED_MS : QUIET_MS);
      if (ended && state.sent < (row.logSize ?? 0)) await this.ship(row, ended);
    } catch (error) {
      if (!isFault(error)) throw error;
      this.onFault(row, state, error);
    }
  }

  private async send(row: JobRow, state: Progress, chunk: Uint8Array): Promise<void> {
    const path = `${ROUTES.log(row.jti, row.attempt)}?stream=main&offset=${state.sent}`;
    const reply = await this.deps.session.send({
      method: "PUT",
      path,
      headers: { "content-type": "application/octet-stream" },
      body: chunk,
      maxReplyBytes: 4096,
      accept: "application/json",
    });
    const parsed = parseDocument(reply.body, LogReplySchema);
    if (!parsed.ok) throw fault("WIRE_REPLY_MALFORMED", { url: path, why: `${parsed.path}: ${parsed.why}` });
    state.sent = parsed.value.stored;
    state.watched = parsed.value.watched;
    this.deps.journal.markLogSent(row.jti, row.attempt, state.sent);
  }

  private onFault(row: JobRow, state: Progress, why: Fault): void {
    const problem = refusalOf(why)?.problem;
    state.nextAt = this.deps.clock.bootMs() + RETRY_MS;
    if (problem === "API_OFFSET_MISMATCH") {
      // The server's length is the truth; this process may have restarted between a send and its note.
      state.sent = 0;
      state.nextAt = 0;
      return;
    }
    this.deps.log("warn", "log.unsent", { job: row.jti, code: problem ?? why.code, why: why.message });
    if (problem === "LEASE_NOT_HELD" || problem === "API_NOT_FOUND") this.close(row, state);
  }

  private close(row: JobRow, state: Progress): void {
    state.closed = true;
    this.deps.journal.markLogSent(row.jti, row.attempt, Math.max(state.sent, row.logSize ?? 0));
  }
}

function readFrom(path: string, offset: number): Uint8Array {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return new Uint8Array(); // the worker has not begun to write yet
    throw fault("STATE_FILE_UNREADABLE", { path, why: reasonOf(error) }, error);
  }
  try {
    const size = Math.min(Math.max(0, fstatSync(fd).size - offset), LIMITS.LOG_CHUNK_BYTES);
    const chunk = new Uint8Array(size);
    return chunk.subarray(0, readSync(fd, chunk, 0, size, offset));
  } finally {
    closeSync(fd);
  }
}
