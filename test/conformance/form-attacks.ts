// The text itself: its parts, its alphabet, its length (RFC 7515 sections 2, 3.1, 5.2; RFC 4648 section 3).

import { type Attack, type AttackClass, base64url, type Door, good } from "./door.ts";

export const FORM_CLASSES = {
  "no text": { except: { bearer: "a header is always a text" } },
  "empty part": {},
  "number of parts": {},
  "other serialisation": {},
  padding: {},
  "white space": {},
  "spare bits": {},
  alphabet: {},
  "foreign characters": {},
  oversize: {},
} as const satisfies Readonly<Record<string, AttackClass>>;

const MALFORMED = "JWS_MALFORMED";
const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

type Parts = readonly [header: string, payload: string, signature: string];

async function parts(door: Door): Promise<Parts> {
  const [header = "", payload = "", signature = ""] = (await good(door)).split(".");
  return [header, payload, signature];
}

/** Header and payload as given, with a right signature over exactly that text. */
async function resigned(door: Door, change: (parts: Parts) => readonly [string, string]): Promise<string> {
  const input = change(await parts(door)).join(".");
  return `${input}.${await door.seal(input)}`;
}

/** The same bytes in another spelling: the last of two or three characters carries bits of nothing. */
const respelt = (part: string): string => part.slice(0, -1) + DIGITS[DIGITS.indexOf(part.at(-1) ?? "A") ^ 1];

/** The claims with as many spaces behind them as leave spare bits in base64url. */
function spacedPayload(door: Door): string {
  const text = JSON.stringify(door.claims);
  return base64url(text + " ".repeat((4 - (Buffer.byteLength(text) % 3)) % 3));
}

const text = (
  kind: keyof typeof FORM_CLASSES,
  name: string,
  why: string,
  change: (good: string) => unknown,
  expected = MALFORMED,
): Attack => ({ kind, name, why, make: async (door) => change(await good(door)), expected });

const signedText = (
  kind: keyof typeof FORM_CLASSES,
  name: string,
  why: string,
  change: (parts: Parts, door: Door) => readonly [string, string],
): Attack => ({
  kind,
  name,
  why,
  make: (door) => resigned(door, (found) => change(found, door)),
  expected: MALFORMED,
});

const compactForm = "RFC 7515 section 3.1";
const decoding = "RFC 7515 section 5.2: base64url without line breaks, white space or other characters";
const oneSpelling = "RFC 4648 section 3.5: one spelling, or replay is judged by another text";

export const FORM_ATTACKS: readonly Attack[] = [
  text("no text", "an object that prints as one", "a parser upstream", (good) => ({ toString: () => good })),
  text("no text", "a list with it", "a parser upstream", (good) => [good]),
  {
    kind: "no text",
    name: "null",
    why: "a header that is not there",
    make: () => null,
    // Where null means that there is no header at all, nothing was opened.
    expected: (door) =>
      door.name === "reply" || door.name === "proof"
        ? door.tells("").replace(" < ", "")
        : door.tells(MALFORMED),
  },
  text("no text", "a number", "a parser upstream", () => 1),

  text("empty part", "nothing at all", compactForm, () => ""),
  text("empty part", "dots", compactForm, () => ".."),
  text("empty part", "no header", compactForm, (good) => good.slice(good.indexOf("."))),
  text("empty part", "detached payload", "RFC 7515 appendix F", (good) => good.replace(/\..*\./, "..")),
  text("empty part", "no signature", "RFC 8725 section 3.2", (good) =>
    good.slice(0, good.lastIndexOf(".") + 1),
  ),
  signedText("empty part", "detached payload, signed as such", "RFC 7797", ([header]) => [header, ""]),

  text("number of parts", "one part", compactForm, (good) => good.replaceAll(".", "")),
  text("number of parts", "two parts", compactForm, (good) => good.slice(0, good.lastIndexOf("."))),
  text("number of parts", "four parts", compactForm, (good) => `${good}.AAAA`),
  text("number of parts", "five parts, as a JWE has", "RFC 7516 section 9", (good) => `${good}.AAAA.AAAA`),
  text("number of parts", "a fourth, empty part", compactForm, (good) => `${good}.`),
  {
    kind: "number of parts",
    name: "two texts in one header",
    why: "RFC 9449 section 4.3, 1: not more than one",
    make: async (door) => `${await good(door)}, ${await good(door)}`,
    expected: MALFORMED,
  },

  {
    kind: "other serialisation",
    name: "flattened JSON",
    why: "RFC 7515 section 7.2.2: its unprotected header is signed by nobody",
    make: async (door) => {
      const [header, payload, signature] = await parts(door);
      return JSON.stringify({ protected: header, payload, signature });
    },
    expected: MALFORMED,
  },
  {
    kind: "other serialisation",
    name: "general JSON with two signatures",
    why: "RFC 7515 section 7.2.1",
    make: async (door) => {
      const [header, payload, signature] = await parts(door);
      return JSON.stringify({ payload, signatures: [{ protected: header, signature }] });
    },
    expected: MALFORMED,
  },
  {
    kind: "other serialisation",
    name: "the algorithm in an unprotected header alone",
    why: "RFC 7515 section 10.7",
    make: async (door) => {
      const [, payload, signature] = await parts(door);
      return JSON.stringify({ header: door.header, payload, signature });
    },
    expected: MALFORMED,
  },

  text("padding", "behind the signature", decoding, (good) => `${good}==`),
  signedText("padding", "behind the header, signed", decoding, ([header, payload]) => [
    `${header}=`,
    payload,
  ]),
  signedText("padding", "behind the payload, signed", decoding, ([header, payload]) => [
    header,
    `${payload}==`,
  ]),

  text("white space", "a newline behind it", decoding, (good) => `${good}\n`),
  text("white space", "a space before it", decoding, (good) => ` ${good}`),
  text("white space", "inside the signature", decoding, (good) => `${good.slice(0, -9)} ${good.slice(-9)}`),
  signedText("white space", "inside the payload, signed", decoding, ([header, payload]) => [
    header,
    `${payload.slice(0, 9)}\r\n${payload.slice(9)}`,
  ]),
  signedText("white space", "inside the header, signed", decoding, ([header, payload]) => [
    `${header.slice(0, 9)}\t${header.slice(9)}`,
    payload,
  ]),

  text("spare bits", "of the signature", oneSpelling, respelt),
  signedText("spare bits", "of the payload, signed", oneSpelling, ([header], door) => [
    header,
    respelt(spacedPayload(door)),
  ]),

  text("alphabet", "of base64", decoding, (good) => good.replace(/.\./, "+.")),
  text(
    "alphabet",
    "of base64, in the signature",
    decoding,
    (good) => `${good.slice(0, -4)}/${good.slice(-3)}`,
  ),
  signedText("alphabet", "of base64, in the payload, signed", decoding, ([header, payload]) => [
    header,
    `+/${payload.slice(2)}`,
  ]),

  text("foreign characters", "NUL behind it", decoding, (good) => `${good}\0`),
  text("foreign characters", "a byte order mark", decoding, (good) => `\ufeff${good}`),
  text("foreign characters", "half a surrogate pair", decoding, (good) => `${good.slice(0, -1)}\ud800`),
  text("foreign characters", "a letter that looks like one", decoding, (good) => `\u0435${good.slice(1)}`),
  text("foreign characters", "a letter whose low byte is right", decoding, (good) => {
    const first = good.charCodeAt(0);
    return String.fromCharCode(0x100 + first) + good.slice(1);
  }),
  text("foreign characters", "a percent sign", decoding, (good) => good.replace(".", "%2e")),
  text("foreign characters", "HTML", "a proxy's page", () => "<html>.<body>.</body>"),

  {
    kind: "oversize",
    name: "by one character",
    why: "every text has a limit",
    make: async (door) => {
      const [header, payload, signature] = await parts(door);
      const room = door.maxBytes + 1 - header.length - signature.length - 2;
      return [header, payload.padEnd(room, "A"), signature].join(".");
    },
    expected: "JWS_OVERSIZED",
  },
  {
    kind: "oversize",
    name: "megabytes of dots",
    why: "every text has a limit",
    make: () => ".".repeat(4_000_000),
    expected: "JWS_OVERSIZED",
  },
];
