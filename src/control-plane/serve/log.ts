export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export type LogFields = Readonly<Record<string, string | number | boolean | null | readonly string[]>>;

/** Writes one line about one thing. Fields are ids, numbers and codes: never a token, a key or what a job says. */
export type Log = (level: LogLevel, message: string, fields?: LogFields) => void;

/** JSON lines (one object a line, `time` in ISO 8601) at or above a level. */
export function jsonLog(least: LogLevel, write: (line: string) => void, nowMs: () => number): Log {
  const from = LOG_LEVELS.indexOf(least);
  return (level, message, fields = {}) => {
    if (LOG_LEVELS.indexOf(level) < from) return;
    write(`${JSON.stringify({ time: new Date(nowMs()).toISOString(), level, message, ...fields })}\n`);
  };
}
