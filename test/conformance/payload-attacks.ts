// The claims as text and as values, signed by the right key (RFC 7519 sections 4 and 7.2, RFC 8259, RFC 7493).

import { type Attack, type AttackClass, claiming, type Door, many, saying } from "./door.ts";

export const PAYLOAD_CLASSES = {
  "duplicate in the payload": {},
  "spelling of numbers": {},
  "letters of the payload": {},
  "depth of the payload": {},
  "names of prototypes": {},
  "no claims": {},
  "unknown claim": {},
  "missing claim": {},
  "claim of another type": {},
  "text for a number": { except: { reply: "has no number" } },
  "milliseconds for seconds": { needs: ["times"] },
} as const satisfies Readonly<Record<string, AttackClass>>;

type Kind = keyof typeof PAYLOAD_CLASSES;
const MALFORMED = "JWS_MALFORMED";
const WRONG_CLAIMS = "JWS_WRONG_CLAIMS";

const claimsText = (door: Door): string => JSON.stringify(door.claims);

/** The claims' very text changed. */
const spelt = (
  kind: Kind,
  name: string,
  why: string,
  change: (text: string) => string | Uint8Array,
  expected = MALFORMED,
): Attack => ({ kind, name, why, make: (door) => saying(door, change(claimsText(door))), expected });

/** This text at the end of the claims' object. Strict syntax comes before the schema, so the name need not be known. */
const added = (kind: Kind, name: string, why: string, member: string): Attack =>
  spelt(kind, name, why, (text) => text.replace(/\}$/, `,${member}}`));

const unique = "RFC 7519 section 4, RFC 8725 section 2.10: names are unique";
const number = "RFC 8259 section 6, RFC 7493 section 2.2: a number every reader takes for the same";

/** Claims that a door may do without. */
const OPTIONAL: readonly string[] = ["ath", "nonce"];

export const PAYLOAD_ATTACKS: readonly Attack[] = [
  {
    kind: "duplicate in the payload",
    name: "each claim, before",
    why: unique,
    make: (door) =>
      many(
        Object.keys(door.claims).map((name) =>
          saying(door, claimsText(door).replace("{", `{${JSON.stringify(name)}:0,`)),
        ),
      ),
    expected: MALFORMED,
  },
  {
    kind: "duplicate in the payload",
    name: "each claim, behind and equal",
    why: unique,
    make: (door) =>
      many(
        Object.entries(door.claims).map(([name, value]) =>
          saying(door, claimsText(door).replace(/\}$/, `,"${name}":${JSON.stringify(value)}}`)),
        ),
      ),
    expected: MALFORMED,
  },
  {
    kind: "duplicate in the payload",
    name: "each claim, its first letter escaped",
    why: unique,
    make: (door) =>
      many(
        Object.entries(door.claims).map(([name, value]) => {
          const escaped = `\\u${name.charCodeAt(0).toString(16).padStart(4, "0")}${name.slice(1)}`;
          return saying(door, claimsText(door).replace(/\}$/, `,"${escaped}":${JSON.stringify(value)}}`));
        }),
      ),
    expected: MALFORMED,
  },
  added("duplicate in the payload", "deep inside", unique, '"zz":[{"a":{"b":1,"c":2,"b":3}}]'),

  added("spelling of numbers", "1e400", number, '"zz":1e400'),
  added("spelling of numbers", "-1e400", number, '"zz":-1e400'),
  added("spelling of numbers", "1e-400", number, '"zz":1e-400'),
  added("spelling of numbers", "-0", number, '"zz":-0'),
  added("spelling of numbers", "1.0", number, '"zz":1.0'),
  added("spelling of numbers", "1E3", number, '"zz":1E3'),
  added("spelling of numbers", "one beyond the safe range", number, '"zz":9007199254740993'),
  added("spelling of numbers", "a fraction that rounds", number, '"zz":4503599627370496.3'),
  added("spelling of numbers", "hexadecimal", number, '"zz":0x10'),
  added("spelling of numbers", "a leading zero", number, '"zz":01'),
  added("spelling of numbers", "NaN", number, '"zz":NaN'),
  added("spelling of numbers", "Infinity", number, '"zz":Infinity'),
  added("spelling of numbers", "a plus sign", number, '"zz":+1'),

  spelt("letters of the payload", "a byte order mark", "RFC 8259 section 8.1", (text) => `\ufeff${text}`),
  spelt("letters of the payload", "UTF-16", "RFC 8259 section 8.1", (text) => Buffer.from(text, "utf16le")),
  spelt("letters of the payload", "a stray byte", "RFC 7519 section 7.2: UTF-8", (text) =>
    Buffer.concat([Buffer.from(text.replace(/\}$/, ',"zz":"')), Buffer.from([0xff]), Buffer.from('"}')]),
  ),
  spelt("letters of the payload", "an encoded surrogate", "RFC 3629 section 3", (text) =>
    Buffer.concat([
      Buffer.from(text.replace(/\}$/, ',"zz":"')),
      Buffer.from([0xed, 0xa0, 0x80]),
      Buffer.from('"}'),
    ]),
  ),
  added("letters of the payload", "half a surrogate pair", "RFC 7493 section 2.1", '"zz":"\\ud800"'),
  added("letters of the payload", "half a pair in a name", "RFC 7493 section 2.1", '"\\udc00":1'),
  added("letters of the payload", "a raw NUL", "RFC 8259 section 7", '"zz":"\0"'),
  added("letters of the payload", "a raw line end", "RFC 8259 section 7", '"zz":"\n"'),
  spelt("letters of the payload", "NUL behind it", "RFC 8259 section 2", (text) => `${text}\0`),
  spelt("letters of the payload", "a second document", "RFC 8259 section 2", (text) => `${text}{}`),
  spelt("letters of the payload", "a comment", "RFC 8259 section 2", (text) => `${text} // x`),
  spelt("letters of the payload", "a trailing comma", "RFC 8259 section 4", (text) =>
    text.replace(/\}$/, ",}"),
  ),
  spelt("letters of the payload", "cut short", "RFC 7519 section 7.2", (text) => text.slice(0, -1)),

  added("depth of the payload", "33 lists", "depth is bounded", `"zz":${"[".repeat(33)}${"]".repeat(33)}`),
  added(
    "depth of the payload",
    "400 objects",
    "depth is bounded",
    `"zz":${'{"a":'.repeat(400)}1${"}".repeat(400)}`,
  ),

  added(
    "names of prototypes",
    "__proto__",
    "RFC 8725 section 3.4: what is dropped in silence",
    '"__proto__":{"v":2}',
  ),
  added("names of prototypes", "__proto__, escaped", "RFC 8725 section 3.4", '"\\u005f\\u005fproto__":{}'),
  added("names of prototypes", "constructor", "RFC 8725 section 3.4", '"constructor":{"prototype":{}}'),

  ...["{}", "[]", "null", "true", "0", '""', '[{"v":1}]'].map(
    (text): Attack => ({
      kind: "no claims",
      name: text,
      why: "RFC 7519 section 7.2: a JSON object",
      make: (door) => saying(door, text),
      expected: WRONG_CLAIMS,
    }),
  ),
  spelt("no claims", "no JSON", "RFC 7519 section 7.2", () => "v=1&seq=1"),
  {
    kind: "no claims",
    name: "another token",
    why: "RFC 7519 section 7.2: nested tokens are not taken",
    make: async (door) => saying(door, await claiming(door, {})),
    expected: MALFORMED,
  },

  {
    kind: "unknown claim",
    name: "admin",
    why: "what is signed must be what is read",
    make: (door) => claiming(door, { admin: true }),
    expected: WRONG_CLAIMS,
  },
  {
    kind: "unknown claim",
    name: "each claim in capitals",
    why: "RFC 7519 section 4: case-sensitive",
    make: (door) => many(Object.keys(door.claims).map((name) => claiming(door, { [name.toUpperCase()]: 1 }))),
    expected: WRONG_CLAIMS,
  },
  {
    kind: "missing claim",
    name: "each of them",
    why: "RFC 7519 section 4: each door says which it needs",
    make: (door) =>
      many(
        Object.keys(door.claims)
          .filter((name) => !OPTIONAL.includes(name))
          .map((name) => claiming(door, { [name]: undefined })),
      ),
    expected: WRONG_CLAIMS,
  },
  {
    kind: "claim of another type",
    name: "each of them a negative fraction",
    why: "RFC 7519 section 2: floats for integers",
    make: (door) => many(Object.keys(door.claims).map((name) => claiming(door, { [name]: -1.5 }))),
    expected: WRONG_CLAIMS,
  },
  {
    kind: "claim of another type",
    name: "each of them a list of itself",
    why: "RFC 7519 section 4.1.3: one value, not several",
    make: (door) =>
      many(Object.entries(door.claims).map(([name, value]) => claiming(door, { [name]: [value] }))),
    expected: WRONG_CLAIMS,
  },
  {
    kind: "claim of another type",
    name: "each of them null",
    why: "RFC 7519 section 4",
    make: (door) =>
      many(
        Object.entries(door.claims)
          .filter(([, value]) => value !== null && value !== "recover")
          .map(([name]) => claiming(door, { [name]: null })),
      ),
    expected: WRONG_CLAIMS,
  },
  {
    kind: "text for a number",
    name: "each number",
    why: "RFC 7519 section 2: NumericDate is a number",
    make: (door) =>
      many(
        Object.entries(door.claims)
          .filter(([, value]) => typeof value === "number")
          .map(([name, value]) => claiming(door, { [name]: String(value) })),
      ),
    expected: WRONG_CLAIMS,
  },
  {
    kind: "milliseconds for seconds",
    name: "each time",
    why: "RFC 7519 section 2: NumericDate is in seconds",
    make: (door) =>
      many(
        ["iat", "nbf", "exp"]
          .filter((name) => name in door.claims)
          .map((name) => claiming(door, { [name]: Number(door.claims[name]) * 1000 })),
      ),
    expected: WRONG_CLAIMS,
  },
];
