// Every way in which a program in good faith writes a text into another.

export type Encoder = (value: string) => string;

const utf8 = (value: string): readonly number[] => [...Buffer.from(value)];
const hex2 = (byte: number): string => byte.toString(16).padStart(2, "0");
const hex4 = (unit: number): string => unit.toString(16).padStart(4, "0");
const units = (value: string): readonly number[] =>
  Array.from({ length: value.length }, (_, index) => value.charCodeAt(index));
const json = (value: string): string => JSON.stringify(value).slice(1, -1);
const asciiJson = (value: string): string =>
  json(value).replace(/[\u0080-\uffff]/g, (unit) => `\\u${hex4(unit.charCodeAt(0))}`);
/** Percent-encodes all but some characters, as RFC 3986 and its older kin do. */
const percent =
  (kept: RegExp): Encoder =>
  (value) =>
    utf8(value)
      .map((byte) => {
        const character = String.fromCharCode(byte);
        return kept.test(character) ? character : `%${hex2(byte).toUpperCase()}`;
      })
      .join("");
const lower =
  (encoder: Encoder): Encoder =>
  (value) =>
    encoder(value).replace(/%[0-9A-F]{2}/g, (sequence) => sequence.toLowerCase());
const wrapped = (text: string, width: number, end = "\n"): string =>
  (text.match(new RegExp(`.{1,${width}}`, "g")) ?? []).join(end);
const base64 = (value: string, before: number, after: number): string =>
  Buffer.from(`${"\u0001".repeat(before)}${value}${"\u0002".repeat(after)}`).toString("base64");

export const ENCODERS: Readonly<Record<string, Encoder>> = {
  raw: (value) => value,
  ...Object.fromEntries(
    [0, 1, 2].flatMap((before) =>
      [0, 1, 2].flatMap((after): [string, Encoder][] => [
        [`base64 ${before} ${after}`, (value) => base64(value, before, after)],
        [
          `base64 url ${before} ${after}`,
          (value) => base64(value, before, after).replaceAll("+", "-").replaceAll("/", "_"),
        ],
        [
          `base64 without padding ${before} ${after}`,
          (value) => base64(value, before, after).replace(/=+$/, ""),
        ],
      ]),
    ),
  ),
  "base64 in lines of 76": (value) => wrapped(base64(value, 55, 40), 76),
  "base64 in lines of 64, CR LF": (value) => wrapped(base64(value, 44, 40), 64, "\r\n"),
  hex: (value) => Buffer.from(value).toString("hex"),
  "hex, upper case": (value) => Buffer.from(value).toString("hex").toUpperCase(),
  "hex in lines of 60": (value) => wrapped(Buffer.from(`x${value}`).toString("hex"), 60),
  encodeURIComponent,
  encodeURI,
  "percent, unreserved kept": percent(/[A-Za-z0-9._~-]/),
  "percent, lower case": lower(percent(/[A-Za-z0-9._~-]/)),
  "percent, slash kept": percent(/[A-Za-z0-9._~/-]/),
  "percent, everything": percent(/(?!)/),
  "percent, everything, lower case": lower(percent(/(?!)/)),
  form: (value) => new URLSearchParams({ x: value }).toString().slice(2),
  "form, lower case": (value) => lower(ENCODERS["form"] as Encoder)(value),
  JSON: json,
  "JSON, slashes escaped": (value) => json(value).replaceAll("/", "\\/"),
  "JSON, ASCII only": asciiJson,
  "JSON, ASCII only, upper case": (value) =>
    asciiJson(value).replace(/\\u([0-9a-f]{4})/g, (_, digits: string) => `\\u${digits.toUpperCase()}`),
  "JSON, safe in HTML": (value) =>
    json(value).replace(/[<>&']/g, (character) => `\\u${hex4(character.charCodeAt(0))}`),
  "JSON, everything": (value) =>
    units(value)
      .map((unit) => `\\u${hex4(unit)}`)
      .join(""),
  "JSON, everything, upper case": (value) =>
    units(value)
      .map((unit) => `\\u${hex4(unit).toUpperCase()}`)
      .join(""),
  "single quotes, POSIX": (value) => `'${value.replaceAll("'", "'\\''")}'`,
  "single quotes, Python": (value) => `'${value.replaceAll("'", `'"'"'`)}'`,
  "single quotes, YAML": (value) => `'${value.replaceAll("'", "''")}'`,
  "double quotes, POSIX": (value) => `"${value.replace(/["\\$`]/g, "\\$&")}"`,
  "backslashes, POSIX": (value) => value.replace(/[^A-Za-z0-9_\n\u0080-\u{10ffff}]/gu, "\\$&"),
  "$'…' with named escapes": (value) =>
    `$'${value.replace(/[\\']/g, "\\$&").replaceAll("\n", "\\n").replaceAll("\t", "\\t").replaceAll("\r", "\\r")}'`,
  "$'…' in hex": (value) =>
    `$'${utf8(value)
      .map((byte) => `\\x${hex2(byte)}`)
      .join("")}'`,
  "$'…' in octal": (value) =>
    `$'${utf8(value)
      .map((byte) => `\\${byte.toString(8).padStart(3, "0")}`)
      .join("")}'`,
  XML: (value) =>
    value
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      .replaceAll('"', "&quot;")
      .replaceAll("'", "&apos;"),
  HTML: (value) => value.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`),
  "XML, numbers for all": (value) =>
    [...value].map((character) => `&#x${(character.codePointAt(0) ?? 0).toString(16)};`).join(""),
};
