const TEXT_CHARS_MAX = 2_000;

type Key = "error" | "message" | "expected" | "actual";
const KEYS: readonly string[] = ["error", "message", "expected", "actual"] satisfies Key[];

/**
 * The YAML block below a test point (TAP 14, "YAML Diagnostics"), as far as a report wants it: message, time, type.
 * Reads the few forms of scalars runners write, plain, quoted and block; anything else is passed over.
 */
export class TapDiagnostic {
  /** Milliseconds, from node's `duration_ms` or `time` (seconds, as others write it). */
  ms: number | null = null;
  /** node:test says `suite` for what only groups tests. */
  type: string | null = null;
  private readonly texts: Partial<Record<Key, string>> = {};
  private readonly indent: number;
  private state: "before" | "inside" | "after" = "before";
  private block: { readonly key: Key; readonly deeperThan: number } | null = null;

  /** `pointIndent`: columns before the test point; the block is indented a little more. */
  constructor(pointIndent: number) {
    this.indent = pointIndent;
  }

  /** True when the line is part of the block. */
  take(line: string): boolean {
    if (this.state === "after") return false;
    const indent = line.length - line.trimStart().length;
    const text = line.trim();
    if (this.state === "before") {
      if (text === "---" && indent > this.indent) this.state = "inside";
      else if (text !== "") this.state = "after";
      return this.state === "inside";
    }
    if (text === "..." && (indent <= this.indent + 2 || this.block === null)) {
      this.state = "after";
      return true;
    }
    if (text !== "" && indent <= this.indent && /^(not )?ok\b/.test(text)) {
      this.state = "after"; // a block nobody closed
      return false;
    }
    this.inside(text, indent);
    return true;
  }

  get message(): string | null {
    const { error, message, expected, actual } = this.texts;
    if (error !== undefined || message !== undefined) return error ?? message ?? null;
    return expected !== undefined && actual !== undefined ? `expected ${expected}, got ${actual}` : null;
  }

  private inside(text: string, indent: number): void {
    if (this.block && (text === "" || indent > this.block.deeperThan)) {
      const { key } = this.block;
      const so = this.texts[key] ?? "";
      if (so.length < TEXT_CHARS_MAX) this.texts[key] = so === "" ? text : `${so}\n${text}`;
      return;
    }
    this.block = null;
    const match = /^([A-Za-z_]+):(?:\s+(.*))?$/.exec(text);
    if (!match) return;
    const [, key = "", value = ""] = match;
    if (key === "duration_ms") this.ms ??= milliseconds(value, 1);
    if (key === "time") this.ms ??= milliseconds(value, 1000);
    if (key === "type") this.type ??= unquote(value);
    if (isKey(key) && this.texts[key] === undefined) this.text(key, value, indent);
  }

  private text(key: Key, value: string, indent: number): void {
    if (/^[|>][-+]?\d?$/.test(value)) {
      this.block = { key, deeperThan: indent };
      return;
    }
    if (value !== "") this.texts[key] = unquote(value).slice(0, TEXT_CHARS_MAX);
  }
}

const isKey = (key: string): key is Key => KEYS.includes(key);

function milliseconds(text: string, factor: number): number | null {
  const value = Number(text) * factor;
  return text !== "" && Number.isFinite(value) && value >= 0 ? value : null;
}

function unquote(text: string): string {
  if (/^'.*'$/s.test(text)) return text.slice(1, -1).replaceAll("''", "'");
  if (/^".*"$/s.test(text)) {
    return text.slice(1, -1).replace(/\\(["\\/nt])/g, (_, c: string) => ({ n: "\n", t: "\t" })[c] ?? c);
  }
  return text;
}
