/** Line and column, both from 1, of the place where a text stops being JSON; null when it does not. */
export function jsonErrorPosition(text: string): { line: number; column: number } | null {
  const offset = new JsonScanner(text).errorOffset();
  if (offset === null) return null;
  const before = text.slice(0, offset);
  return { line: before.split("\n").length, column: offset - before.lastIndexOf("\n") };
}

const DEPTH_MAX = 512;

/** Walks a text by the grammar of RFC 8259 and stops at the first character that does not fit it. */
class JsonScanner {
  private readonly text: string;
  private at = 0;

  constructor(text: string) {
    this.text = text;
  }

  errorOffset(): number | null {
    const complete = this.value(0) && this.blank() && this.at === this.text.length;
    return complete ? null : this.at;
  }

  private value(depth: number): boolean {
    this.blank();
    const first = this.text[this.at];
    if (depth > DEPTH_MAX) return false;
    if (first === "{") return this.items("}", () => this.member(depth));
    if (first === "[") return this.items("]", () => this.value(depth + 1));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids them in strings
    if (first === '"') return this.take(/"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y);
    return this.take(/true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y);
  }

  /** What stands between two brackets, separated by commas. */
  private items(end: string, item: () => boolean): boolean {
    this.at += 1;
    this.blank();
    if (this.text[this.at] === end) return this.skip();
    for (;;) {
      if (!item()) return false;
      this.blank();
      if (this.text[this.at] === end) return this.skip();
      if (this.text[this.at] !== ",") return false;
      this.at += 1;
      this.blank();
    }
  }

  private member(depth: number): boolean {
    this.blank();
    if (this.text[this.at] !== '"' || !this.value(depth)) return false;
    this.blank();
    if (this.text[this.at] !== ":") return false;
    this.at += 1;
    return this.value(depth + 1);
  }

  private skip(): boolean {
    this.at += 1;
    return true;
  }

  private blank(): boolean {
    return this.take(/[ \t\r\n]*/y);
  }

  private take(pattern: RegExp): boolean {
    pattern.lastIndex = this.at;
    const match = pattern.exec(this.text);
    if (match === null) return false;
    this.at += match[0].length;
    return true;
  }
}
