import { closeSync, constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { printable, reasonOf } from "../fault/fault.ts";
import { ensurePrivateDirectory } from "./durable-file.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, string | number | boolean | null>>;

/** One thing that happened, under a stable event name ("beat.accepted", "job.finished"). */
export interface LogEvent {
  readonly at: number;
  readonly level: LogLevel;
  readonly event: string;
  readonly fields: LogFields;
}

/** Where events go. Never throws: a full disk must not stop the agent from working on. */
export type Log = (level: LogLevel, event: string, fields?: LogFields) => void;

/** One JSON object a line: `{"time":ISO,"level":…,"event":…,…}`. */
export const logLine = ({ at, level, event, fields }: LogEvent): string =>
  `${JSON.stringify({ time: new Date(at).toISOString(), level, event, ...fields })}\n`;

/** The same for a person at a console. */
export function consoleLine({ at, level, event, fields }: LogEvent): string {
  const time = new Date(at).toISOString().slice(11, 19);
  const mark = level === "error" ? "!!" : level === "warn" ? " !" : "  ";
  const rest = Object.entries(fields).map(([name, value]) => `${name}=${quoted(value)}`);
  return `${time} ${mark} ${event}${rest.length === 0 ? "" : `  ${rest.join(" ")}`}\n`;
}

const quoted = (value: string | number | boolean | null) => {
  const text = printable(String(value));
  return /[\s"]/.test(text) ? JSON.stringify(text) : text;
};

/** Appends events to `agent.log` and hands them to the console. Lines the disk refuses are counted and told later. */
export class AgentLog {
  private readonly path: string;
  private readonly wallMs: () => number;
  private readonly echo: (event: LogEvent) => void;
  private fd: number | null = null;
  private lost = 0;
  /** A write that failed may have left the beginning of a line. */
  private torn = false;

  constructor(logDir: string, wallMs: () => number, echo: (event: LogEvent) => void) {
    ensurePrivateDirectory(logDir, 0o750);
    ensurePrivateDirectory(join(logDir, "jobs"), 0o750);
    this.path = join(logDir, "agent.log");
    this.wallMs = wallMs;
    this.echo = echo;
  }

  readonly write: Log = (level, event, fields = {}) => {
    const entry = { at: this.wallMs(), level, event, fields };
    this.echo(entry);
    this.append(entry);
  };

  close(): void {
    if (this.fd !== null) closeSync(this.fd);
    this.fd = null;
  }

  private append(entry: LogEvent): void {
    try {
      this.fd ??= openSync(
        this.path,
        constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW,
        0o640,
      );
      const gap =
        this.lost > 0
          ? logLine({ ...entry, event: "log.lost", level: "warn", fields: { lines: this.lost } })
          : "";
      const text = (this.torn ? "\n" : "") + gap + logLine(entry);
      this.torn = true;
      this.torn = writeSync(this.fd, text) < Buffer.byteLength(text);
      if (this.torn) throw new Error("only a part of the line was taken");
      this.lost = 0;
    } catch (error) {
      this.lost += 1; // told by log.lost once the disk takes lines again; the console has it now
      if (this.lost === 1)
        this.echo({ ...entry, level: "error", event: "log.unwritable", fields: { why: reasonOf(error) } });
    }
  }
}
