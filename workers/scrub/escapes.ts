/** What one escape sequence stands for: `count` bytes, at most four. */
export interface Escape {
  count: number;
  readonly bytes: Uint8Array;
}

/** Reads the sequence that may begin at `at`: its length, NONE, or MORE when `text` ends before it can be told. */
export type EscapeReader = (text: Uint8Array, at: number, into: Escape) => number;

export const NONE = 0;
export const MORE = -1;

export const newEscape = (): Escape => ({ count: 0, bytes: new Uint8Array(4) });

const code = (character: string): number => character.charCodeAt(0);

/** `%41`, either case (RFC 3986 section 2.1). */
export const readPercent: EscapeReader = (text, at, into) => {
  const digits = hexDigits(text, at + 1, 2);
  if (digits.more) return MORE;
  return digits.count === 2 ? byteOf(into, digits.value, 3) : NONE;
};

/** `+` for a space, as forms write it (application/x-www-form-urlencoded). */
export const readPlus: EscapeReader = (_text, _at, into) => byteOf(into, code(" "), 1);

/** What a letter after a backslash stands for in JSON, C, and the shell's `$'…'`. */
const LETTERS: Readonly<Record<number, number>> = {
  [code("n")]: 10,
  [code("t")]: 9,
  [code("r")]: 13,
  [code("b")]: 8,
  [code("f")]: 12,
  [code("a")]: 7,
  [code("v")]: 11,
  [code("e")]: 27,
  [code("E")]: 27,
};

/**
 * `\n`, `\"`, `\/`, `\x41`, `\101`, `\u0041` (either case, pairs of surrogates included), `\U00000041`; a character
 * that is neither letter nor digit stands for itself, as a shell quotes it. JSON: RFC 8259 section 7; `$'…'`: bash(1), QUOTING.
 */
export const readBackslash: EscapeReader = (text, at, into) => {
  const after = text[at + 1];
  if (after === undefined) return MORE;
  if (after === code("u")) return readUnicode(text, at, into);
  if (after === code("U")) return readCodePoint(text, at, 8, into);
  if (after === code("x")) {
    const digits = hexDigits(text, at + 2, 2);
    if (digits.more) return MORE;
    return digits.count === 0 ? NONE : byteOf(into, digits.value, 2 + digits.count);
  }
  if (after >= code("0") && after <= code("7")) return readOctal(text, at, into);
  const letter = LETTERS[after];
  return letter === undefined && isAlphanumeric(after) ? NONE : byteOf(into, letter ?? after, 2);
};

/** Reads one spelling of a single quote inside single quotes. */
const readQuoteAs = (text: string): EscapeReader => {
  const spelling = Buffer.from(text);
  return (bytes, at, into) => {
    const fit = fitsAt(bytes, at, spelling);
    if (fit === "more") return MORE;
    return fit === "whole" ? byteOf(into, code("'"), spelling.length) : NONE;
  };
};

/**
 * `'\''` and `'"'"'` as shells know it, `''` as YAML and SQL do. Each is undone in a reading of its own: a value that begins
 * with a quote, quoted, begins with two that are no `''`.
 */
export const QUOTE_READERS: readonly EscapeReader[] = [`'\\''`, `'"'"'`, "''"].map(readQuoteAs);

const ENTITY_CHARS_MAX = 10;
const ENTITIES: Readonly<Record<string, number>> = {
  amp: code("&"),
  lt: code("<"),
  gt: code(">"),
  quot: code('"'),
  apos: code("'"),
};

/** `&amp;`, `&#39;`, `&#x27;` (XML 1.0 sections 4.1 and 4.6). */
export const readEntity: EscapeReader = (text, at, into) => {
  const window = text.subarray(at + 1, at + 1 + ENTITY_CHARS_MAX);
  const end = window.indexOf(code(";"));
  if (end === -1) {
    const plausible = window.every((byte) => byte === code("#") || isAlphanumeric(byte));
    return plausible && window.length < ENTITY_CHARS_MAX ? MORE : NONE;
  }
  const name = Buffer.from(window.subarray(0, end)).toString("latin1");
  const named = Object.hasOwn(ENTITIES, name) ? ENTITIES[name] : undefined;
  if (named !== undefined) return byteOf(into, named, end + 2);
  const [, hex, decimal] = /^#(?:[xX]([0-9a-fA-F]+)|([0-9]+))$/.exec(name) ?? [];
  if (hex === undefined && decimal === undefined) return NONE;
  const point = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
  return pointOf(into, point, end + 2);
};

const isAlphanumeric = (byte: number): boolean =>
  (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122);

function readUnicode(text: Uint8Array, at: number, into: Escape): number {
  const first = hexDigits(text, at + 2, 4);
  if (first.more) return MORE;
  if (first.count < 4) return NONE;
  if (first.value < 0xd800 || first.value > 0xdbff) return pointOf(into, first.value, 6);
  const fit = fitsAt(text, at + 6, UNICODE);
  if (fit !== "whole") return fit === "more" ? MORE : NONE;
  const second = hexDigits(text, at + 8, 4);
  if (second.more) return MORE;
  if (second.count < 4 || second.value < 0xdc00 || second.value > 0xdfff) return NONE;
  return pointOf(into, 0x10000 + ((first.value - 0xd800) << 10) + (second.value - 0xdc00), 12);
}

const UNICODE = Buffer.from("\\u");

function readCodePoint(text: Uint8Array, at: number, count: number, into: Escape): number {
  const digits = hexDigits(text, at + 2, count);
  if (digits.more) return MORE;
  return digits.count < count ? NONE : pointOf(into, digits.value, 2 + count);
}

function readOctal(text: Uint8Array, at: number, into: Escape): number {
  let value = 0;
  let length = 1;
  for (; length <= 3; length++) {
    const digit = (text[at + length] ?? -1) - code("0");
    if (at + length >= text.length) return MORE;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  return byteOf(into, value & 0xff, length);
}

function fitsAt(text: Uint8Array, at: number, spelling: Uint8Array): "whole" | "more" | "no" {
  for (let index = 0; index < spelling.length; index++) {
    const found = text[at + index];
    if (found === undefined) return "more";
    if (found !== spelling[index]) return "no";
  }
  return "whole";
}

/** Up to `count` hexadecimal digits; `more` when `text` ends among them. */
function hexDigits(text: Uint8Array, at: number, count: number) {
  let value = 0;
  for (let index = 0; index < count; index++) {
    const byte = text[at + index];
    if (byte === undefined) return { value, count: index, more: true };
    const digit = HEX_VALUES[byte] ?? -1;
    if (digit < 0) return { value, count: index, more: false };
    value = value * 16 + digit;
  }
  return { value, count, more: false };
}

/** Value of each byte as a hexadecimal digit, or -1. */
export const HEX_VALUES = valuesOf(["0123456789abcdef", "0123456789ABCDEF"]);

/** Value of each byte as a digit of any of `alphabets`, or -1. */
export function valuesOf(alphabets: readonly string[]): Int8Array {
  const values = new Int8Array(256).fill(-1);
  for (const alphabet of alphabets) {
    for (let index = 0; index < alphabet.length; index++) values[alphabet.charCodeAt(index)] = index;
  }
  return values;
}

function byteOf(into: Escape, byte: number, length: number): number {
  into.bytes[0] = byte;
  into.count = 1;
  return length;
}

/** A code point as UTF-8 (RFC 3629); half a surrogate pair or a number beyond Unicode is no escape. */
function pointOf(into: Escape, point: number, length: number): number {
  if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return NONE;
  const { bytes } = into;
  if (point < 0x80) return byteOf(into, point, length);
  into.count = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  let rest = point;
  for (let index = into.count - 1; index > 0; index--) {
    bytes[index] = 0x80 | (rest & 0x3f);
    rest >>= 6;
  }
  bytes[0] = ([0, 0, 0xc0, 0xe0, 0xf0][into.count] ?? 0) | rest;
  return length;
}
