import { fault } from "../../fault/fault.ts";

/** What a job or a host said, fit for a terminal: lines and tabs stay, everything a terminal acts on is escaped. */
export const safeText = (text: string): string =>
  text
    .replaceAll("\r\n", "\n")
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) =>
      c === "\n" || c === "\t" ? c : `\\u${(c.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`,
    );

/** The same on one line. */
export const safeLine = (text: string): string =>
  safeText(text).replaceAll("\n", "\\n").replaceAll("\t", " ");

/** A span of time as people say it: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`. */
export function duration(ms: number): string {
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.round(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** A number of bytes with the unit people use. */
export function byteCount(bytes: number): string {
  if (bytes < 1024) return `${bytes} bytes`;
  const units = ["KiB", "MiB", "GiB"];
  const power = Math.min(units.length, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** power).toFixed(1)} ${units[power - 1]}`;
}

/** Columns as wide as their widest cell, two spaces apart. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join("");
}

/** `30`, `15m`, `2h`, `7d` in seconds; null for anything else. */
export function parseSeconds(text: string): number | null {
  const match = /^(\d{1,9})(s|m|h|d)?$/.exec(text);
  if (match === null) return null;
  const unit = { s: 1, m: 60, h: 3600, d: 86_400 }[match[2] ?? "s"] ?? 1;
  return Number(match[1]) * unit;
}

/** A time given as an option, in seconds. Throws CLI_BAD_VALUE. */
export function secondsArg(
  value: string,
  flag: string,
  command: string,
  { min, max }: { readonly min: number; readonly max: number },
): number {
  const seconds = parseSeconds(value);
  if (seconds !== null && seconds >= min && seconds <= max) return seconds;
  const why = `it must be a time from ${min}s to ${duration(max * 1000)}, such as 30s, 15m or 2h`;
  throw fault("CLI_BAD_VALUE", { flag, value, why, command });
}
