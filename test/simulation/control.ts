// The Control Plane of a simulated world: the whole program but for its sockets, on a machine of its own.

import { Database } from "bun:sqlite";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { backUp } from "../../src/control-plane/backup/back-up.ts";
import { restore } from "../../src/control-plane/backup/restore.ts";
import { dataPaths } from "../../src/control-plane/data/data-dir.ts";
import { type RunningControlPlane, startControlPlane } from "../../src/control-plane/serve/start.ts";
import { isFault, reasonOf } from "../../src/fault/fault.ts";
import { isCrash } from "./crash.ts";
import type { Dice } from "./dice.ts";
import { possess, type ServerFetch } from "./doubles/globals.ts";
import type { Machine, Process } from "./machine.ts";
import { START_MS } from "./start-time.ts";
import type { Tally, Trace } from "./tally.ts";

export const URL_OF_CONTROL = "http://127.0.0.1:7777/";

/** An answer as it leaves the server. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
}

export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | undefined;
  /** Address it comes from. */
  readonly peer: string;
}

export interface ControlOptions {
  readonly machine: Machine;
  readonly dice: Dice;
  readonly intervalS: number;
  readonly trace: Trace;
  readonly tally: Tally;
  /** What must never happen, in words. */
  readonly violate: (what: string) => void;
}

export class Control {
  readonly machine: Machine;
  /** How far its wall clock is from the world's time. */
  offsetMs = 0;
  /** Sees every answer as it leaves, while the database still is as the answer says. */
  onAnswer: (asked: Asked, answer: Answer) => void = () => undefined;
  private readonly options: ControlOptions;
  private running: RunningControlPlane | null = null;
  private fetch: ServerFetch | null = null;
  private reader: Database | null = null;
  private adminKey = "";

  constructor(options: ControlOptions) {
    this.options = options;
    this.machine = options.machine;
    this.machine.onCrash = (where) => {
      this.fetch = null;
      this.say(`crashed ${where}`);
    };
  }

  wallMs(): number {
    return START_MS + this.machine.timeline.nowMs + this.offsetMs;
  }

  get up(): boolean {
    return this.fetch !== null;
  }

  /** Starts a process on the data directory. False when it died on the way. */
  async boot(): Promise<boolean> {
    this.machine.bury();
    const process = this.machine.begin();
    possess({
      server: process,
      onServe: (fetch) => {
        if (!process.dead) this.fetch = fetch;
      },
    });
    try {
      this.running = await startControlPlane({
        dataDir: this.machine.dir,
        listen: { host: "127.0.0.1", port: 7777 },
        publicUrl: null,
        intervalS: this.options.intervalS,
        maxWakes: 16,
        log: (level, message, fields) => this.log(process, level, message, fields),
        nowMs: () => this.wallMs(),
        random: (count) => this.options.dice.bytes(count),
      });
      this.say("serves");
      return true;
    } catch (error) {
      this.fetch = null;
      if (!isCrash(error) && !process.dead) {
        const full = isFault(error, "CONTROL_DISK_FULL") || this.machine.full;
        if (!full) this.options.violate(`the Control Plane does not start: ${reasonOf(error)}`);
        process.dead = true;
      }
      this.say("did not start");
      return false;
    }
  }

  /** Ends the process in good order. */
  async stop(): Promise<void> {
    this.fetch = null;
    this.say("stops");
    try {
      await this.running?.stop();
    } catch (error) {
      if (!isCrash(error)) throw error;
    }
  }

  /** Copies it while it serves. False when it died over that. */
  async backUp(out: string): Promise<boolean> {
    if (!this.up) return false;
    try {
      await backUp(dataPaths(this.machine.dir), out, { version: "0.1.0", nowMs: this.wallMs() });
      this.say("is backed up");
      return true;
    } catch (error) {
      if (isCrash(error)) return false;
      throw error;
    }
  }

  /** Ends the process and brings the data of an earlier time back in its place. False when that was cut off, at its `crashAt`-th write. */
  async restore(from: string, crashAt: number | null): Promise<boolean> {
    this.machine.kill("for a restore");
    this.end();
    possess({ server: this.machine.begin() });
    if (crashAt !== null) this.machine.arm(crashAt, this.options.dice.chance(0.5) ? "before" : "after");
    const { dir } = this.machine;
    try {
      const restored = await restore({
        from,
        dataDir: dir,
        inPlace: true,
        ledger: null,
        nowMs: this.wallMs(),
      });
      this.say(`is restored, era ${restored.era}, ${restored.heldJobs} jobs held`);
      return true;
    } catch (error) {
      if (isCrash(error) || isFault(error, "CONTROL_DISK_FULL")) return false;
      throw error;
    } finally {
      this.machine.disarm();
      this.machine.bury();
    }
  }

  /** Nothing of it runs any more, nothing is open. */
  end(): void {
    this.fetch = null;
    this.machine.bury();
    this.reader?.close();
    this.reader = null;
  }

  /** Hands a request to the process that serves now; null when there is none, or when it dies over it. */
  async ask(asked: Asked): Promise<Answer | null> {
    const { fetch } = this;
    const process = this.machine.process;
    if (fetch === null || process === null) return null;
    const { method, url, headers, body } = asked;
    const bodyInit = body === undefined ? {} : { body: new Uint8Array(body) };
    const request = new Request(url, { method, headers: { ...headers }, ...bodyInit });
    let answer: Answer;
    try {
      const response = await fetch(request, {
        timeout: () => undefined,
        requestIP: () => ({ address: asked.peer }),
      });
      answer = {
        status: response.status,
        headers: response.headers,
        body: new Uint8Array(await response.arrayBuffer()),
      };
    } catch (error) {
      if (isCrash(error) || process.dead) return null;
      throw error;
    }
    if (process.dead) return null;
    answer.headers.set("date", new Date(this.wallMs()).toUTCString());
    this.onAnswer(asked, answer);
    return answer;
  }

  /** The same as whoever holds the admin key. */
  async api(method: string, path: string, body?: unknown): Promise<{ status: number; json: unknown } | null> {
    if (this.adminKey === "")
      this.adminKey = readFileSync(join(this.machine.dir, "admin.key"), "utf8").trim();
    const answer = await this.ask({
      method,
      url: new URL(path, URL_OF_CONTROL).href,
      headers: {
        authorization: `Bearer ${this.adminKey}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      body: body === undefined ? undefined : new TextEncoder().encode(JSON.stringify(body)),
      peer: "127.0.0.1",
    });
    if (answer === null) return null;
    return { status: answer.status, json: JSON.parse(new TextDecoder().decode(answer.body)) as unknown };
  }

  /** What is committed, read past the process. */
  rows<Row>(sql: string, ...values: (string | number)[]): Row[] {
    this.reader ??= new Database(join(this.machine.dir, "control.db"), { readwrite: true });
    return this.reader.query<Row, (string | number)[]>(sql).all(...values);
  }

  private log(process: Process, level: string, message: string, fields: object = {}): void {
    if (process.dead || level === "debug") return;
    const known = fields as Readonly<Record<string, unknown>>;
    this.say(`${message} ${brief(known)}`);
    this.options.tally.note(`control: ${message}`);
    if (level === "error" && !this.machine.full && !/CONTROL_DISK_FULL/.test(JSON.stringify(fields))) {
      this.options.violate(`the Control Plane failed by itself: ${message} ${JSON.stringify(fields)}`);
    }
  }

  private say(what: string): void {
    this.options.trace.line(this.machine.timeline.nowMs, "control", what);
  }
}

/** Fields of a log line in one line. */
export const brief = (fields: Readonly<Record<string, unknown>>): string =>
  Object.entries(fields)
    .filter(([name]) => name !== "stack")
    .map(([name, value]) => `${name}=${String(value).slice(0, 120)}`)
    .join(" ");
