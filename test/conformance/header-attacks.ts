// The header: algorithm, keys, extensions, type, spelling (RFC 7515 section 4, RFC 8725).

import { createHmac, KeyObject } from "node:crypto";
import { TYP } from "../../src/protocol/trust.ts";
import type { SigningKey } from "../../src/trust/keys.ts";
import { anySigningKey } from "../support/authority.ts";
import { type Attack, type AttackClass, base64url, type Door, type Doors, headed, heading } from "./door.ts";

export const HEADER_CLASSES = {
  "alg none": {},
  "alg confusion": {},
  "alg name": {},
  "key in the header": {},
  "kid tricks": { needs: ["kid"] },
  crit: {},
  b64: {},
  zip: {},
  "type of another class": {},
  "type spelt otherwise": {},
  "unknown member": {},
  "missing member": {},
  "duplicate in the header": {},
  "spelling of the header": {},
  "no header": {},
} as const satisfies Readonly<Record<string, AttackClass>>;

type Kind = keyof typeof HEADER_CLASSES;
const MALFORMED = "JWS_MALFORMED";
const WRONG_ALGORITHM = "JWS_WRONG_ALGORITHM";

/** Members of the header changed or added; signed by the right key. */
const member = (kind: Kind, name: string, why: string, changes: object, expected = MALFORMED): Attack => ({
  kind,
  name,
  why,
  make: (door) => heading(door, changes),
  expected,
});

/** The header's very text changed; signed by the right key. */
const spelt = (kind: Kind, name: string, why: string, change: (text: string) => string): Attack => ({
  kind,
  name,
  why,
  make: (door) => headed(door, change(JSON.stringify(door.header))),
  expected: MALFORMED,
});

/** The public key that everybody knows: the door's own, or the agent's where the door has a secret. */
const publicKeyOf = (door: Door, doors: Doors): SigningKey => {
  const key = door.key ?? doors.receipt.key;
  if (key === null) throw new Error("no key");
  return key;
};

async function spki(key: SigningKey): Promise<KeyObject> {
  return KeyObject.from(await crypto.subtle.importKey("jwk", key.jwk, "Ed25519", true, ["verify"]));
}

const SECRETS: Readonly<Record<string, (key: SigningKey) => Promise<string | Buffer>>> = {
  "its raw bytes": async (key) => Buffer.from(key.jwk.x, "base64url"),
  "its text": async (key) => key.jwk.x,
  "its JWK": async (key) => JSON.stringify(key.jwk),
  "its PEM": async (key) => (await spki(key)).export({ type: "spki", format: "pem" }) as string,
  "its DER": async (key) => (await spki(key)).export({ type: "spki", format: "der" }),
  nothing: async () => "",
};

/** A MAC made with what is public. Sixty-four bytes get past the length of a signature, thirty-two do not. */
const macs = Object.entries(SECRETS).flatMap(([name, secret]): Attack[] =>
  (["sha256", "sha512"] as const).map((hash) => ({
    kind: "alg confusion",
    name: `HS${hash.slice(3)} under the public key: ${name}`,
    why: "RFC 8725 section 2.1: the public key taken for a secret",
    make: async (door, doors) => {
      const header = JSON.stringify({ ...door.header, alg: `HS${hash.slice(3)}` });
      const input = `${base64url(header)}.${base64url(JSON.stringify(door.claims))}`;
      const mac = createHmac(hash, await secret(publicKeyOf(door, doors))).update(input);
      return `${input}.${mac.digest("base64url")}`;
    },
    expected: hash === "sha256" ? MALFORMED : WRONG_ALGORITHM,
  })),
);

type Signer = (input: Uint8Array<ArrayBuffer>) => Promise<ArrayBuffer>;

async function ecdsa(): Promise<Signer> {
  const key = { name: "ECDSA", namedCurve: "P-256" } as const;
  const { privateKey } = await crypto.subtle.generateKey(key, true, ["sign", "verify"]);
  return (input) => crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, privateKey, input);
}

async function rsa(): Promise<Signer> {
  const key = {
    name: "RSASSA-PKCS1-v1_5",
    modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]),
    hash: "SHA-256",
  } as const;
  const { privateKey } = await crypto.subtle.generateKey(key, true, ["sign", "verify"]);
  return (input) => crypto.subtle.sign("RSASSA-PKCS1-v1_5", privateKey, input);
}

/** A true signature of another algorithm, by a key of its own. */
const foreign = (alg: string, signer: () => Promise<Signer>, expected: string): Attack => ({
  kind: "alg confusion",
  name: `a true ${alg} signature`,
  why: "RFC 8725 section 3.1: the algorithm is the door's choice",
  make: async (door) => {
    const header = JSON.stringify({ ...door.header, alg });
    const input = `${base64url(header)}.${base64url(JSON.stringify(door.claims))}`;
    const signature = await (await signer())(Buffer.from(input));
    return `${input}.${base64url(new Uint8Array(signature))}`;
  },
  expected,
});

/** Signed by a stranger, with the stranger's key where the header would have it. */
const brought = (
  name: string,
  where: (key: SigningKey) => object,
  expected: Attack["expected"] = MALFORMED,
): Attack => ({
  kind: "key in the header",
  name,
  why: "RFC 7515 section 10.4: a key that comes with the text proves nothing",
  make: async (door) => {
    const stranger = await anySigningKey();
    const header = JSON.stringify({ ...door.header, ...where(stranger) });
    const input = `${base64url(header)}.${base64url(JSON.stringify(door.claims))}`;
    const signature = await crypto.subtle.sign("Ed25519", stranger.privateKey, Buffer.from(input));
    return `${input}.${base64url(new Uint8Array(signature))}`;
  },
  expected,
});

const kid = (name: string, value: unknown, expected = MALFORMED): Attack =>
  member(
    "kid tricks",
    name,
    "RFC 8725 section 3.10: a key id is looked up, not interpreted",
    { kid: value },
    expected,
  );

const UNKNOWN = "JWS_UNKNOWN_KEY";

export const HEADER_ATTACKS: readonly Attack[] = [
  member("alg none", "none", "RFC 8725 section 3.2", { alg: "none" }, WRONG_ALGORITHM),
  member("alg none", "nOnE", "RFC 8725 section 2.1", { alg: "nOnE" }, WRONG_ALGORITHM),
  member("alg none", "empty", "RFC 7515 section 4.1.1", { alg: "" }, WRONG_ALGORITHM),
  member("alg none", "null", "RFC 7515 section 4.1.1", { alg: null }),
  {
    kind: "alg none",
    name: "none, and no signature",
    why: "RFC 7519 section 6: an unsecured JWT",
    make: async (door) => {
      const header = base64url(JSON.stringify({ ...door.header, alg: "none" }));
      return `${header}.${base64url(JSON.stringify(door.claims))}.`;
    },
    expected: MALFORMED,
  },
  ...macs,
  foreign("ES256", ecdsa, WRONG_ALGORITHM),
  foreign("RS256", rsa, MALFORMED),
  member(
    "alg confusion",
    "HS384 over a true signature",
    "RFC 8725 section 3.1",
    { alg: "HS384" },
    WRONG_ALGORITHM,
  ),
  member(
    "alg name",
    "Ed25519 for EdDSA",
    "RFC 9864: another name of the same",
    { alg: "Ed25519" },
    WRONG_ALGORITHM,
  ),
  member(
    "alg name",
    "small letters",
    "RFC 7515 section 4.1.1: case-sensitive",
    { alg: "eddsa" },
    WRONG_ALGORITHM,
  ),
  member(
    "alg name",
    "a space behind it",
    "RFC 7515 section 5.3: compared as it is",
    { alg: "EdDSA " },
    WRONG_ALGORITHM,
  ),
  member("alg name", "a list", "RFC 7515 section 4.1.1: a text", { alg: ["EdDSA"] }),
  member("alg name", "Ed448's curve", "RFC 8037 section 3.1", { alg: "EdDSA448" }, WRONG_ALGORITHM),

  // Where a key belongs into the header, it must be the one the token is bound to.
  brought(
    "jwk",
    ({ jwk }) => ({ kid: undefined, jwk }),
    (door) => (door.name === "proof" ? "DPOP_INVALID" : door.tells(MALFORMED)),
  ),
  brought("jwk and kid", ({ jwk, kid: print }) => ({ kid: print, jwk })),
  brought("jku", () => ({ jku: "https://evil.example/keys" })),
  brought("x5u", () => ({ x5u: "https://evil.example/cert" })),
  brought("x5c", ({ jwk }) => ({ x5c: [jwk.x] })),
  brought("x5t", ({ kid: print }) => ({ x5t: print })),
  brought("x5t#S256", ({ kid: print }) => ({ "x5t#S256": print })),

  kid("a path", "../../../../dev/null"),
  kid("a file", "/etc/passwd"),
  kid("SQL", "x' OR '1'='1"),
  kid("SQL in letters", "x_UNION_SELECT_key", UNKNOWN),
  kid("a URL", "https://evil.example/key"),
  kid("NUL", "kid\0"),
  kid("empty", ""),
  kid("short", "a"),
  kid("long", "k".repeat(65)),
  kid("a number", 0),
  kid("a list", [0]),
  kid("null", null),
  kid("unknown", "u".repeat(43), UNKNOWN),
  kid("__proto__", "__proto__", UNKNOWN),
  kid("constructor", "constructor", UNKNOWN),
  kid("toString", "toString", UNKNOWN),
  {
    kind: "kid tricks",
    name: "in other letters",
    why: "RFC 7515 section 4.1.4: case-sensitive",
    make: (door) => heading(door, { kid: door.key?.kid.toLowerCase() }),
    expected: UNKNOWN,
  },
  {
    kind: "kid tricks",
    name: "of a key for another use",
    why: "RFC 8725 section 3.12: one key, one class",
    make: (door, doors) => {
      const other = door.key === doors.job.key ? doors.order : doors.job;
      return heading(door, { kid: other.key?.kid });
    },
    expected: UNKNOWN,
  },

  member("crit", "of a known claim", "RFC 7515 section 4.1.11", { crit: ["exp"] }),
  member("crit", "of nothing", "RFC 7515 section 4.1.11: must not be empty", { crit: [] }),
  member("crit", "of what nobody knows", "RFC 7515 section 4.1.11", { crit: ["x"], x: 1 }),
  member("b64", "false", "RFC 7797 section 3", { b64: false, crit: ["b64"] }),
  member("b64", "false and not critical", "RFC 7797 section 6", { b64: false }),
  member("b64", "true", "RFC 7797 section 3", { b64: true, crit: ["b64"] }),
  member("zip", "DEF", "RFC 8725 section 3.6", { zip: "DEF" }),
  {
    kind: "zip",
    name: "DEF, and deflated",
    why: "RFC 8725 section 3.6",
    make: async (door) => {
      const header = base64url(JSON.stringify({ ...door.header, zip: "DEF" }));
      const input = `${header}.${base64url(Bun.deflateSync(JSON.stringify(door.claims)))}`;
      return `${input}.${await door.seal(input)}`;
    },
    expected: MALFORMED,
  },

  ...Object.values(TYP).map(
    (typ): Attack => ({
      kind: "type of another class",
      name: typ,
      why: "RFC 8725 section 3.11: explicit types",
      make: (door) => heading(door, { typ: door.typ === typ ? "JWT" : typ }),
      expected: "JWS_WRONG_TYPE",
    }),
  ),
  {
    kind: "type spelt otherwise",
    name: "as a whole media type",
    why: "RFC 7515 section 4.1.9: one spelling here",
    make: (door) => heading(door, { typ: `application/${door.typ}` }),
    expected: "JWS_WRONG_TYPE",
  },
  {
    kind: "type spelt otherwise",
    name: "in capitals",
    why: "RFC 7515 section 4.1.9: one spelling here",
    make: (door) => heading(door, { typ: door.typ.toUpperCase() }),
    expected: "JWS_WRONG_TYPE",
  },
  member("type spelt otherwise", "a list", "RFC 7515 section 4.1.9", { typ: ["JWT"] }),

  member("unknown member", "cty", "RFC 7519 section 5.2: nested tokens", { cty: "JWT" }),
  member(
    "unknown member",
    "one of ours to come",
    "RFC 8725 section 3.4: what is not read is not signed for",
    { v: 2 },
  ),
  member("unknown member", "claims in the header", "RFC 7519 section 5.3", { iss: "x", aud: "y" }),
  member("unknown member", "a deep one", "depth is bounded", {
    x: JSON.parse(`${"[".repeat(40)}${"]".repeat(40)}`),
  }),
  ...["alg", "typ"].map(
    (name): Attack => ({
      kind: "missing member",
      name,
      why: "RFC 7515 section 4.1.1, RFC 8725 section 3.11",
      make: (door) => heading(door, { [name]: undefined }),
      expected: MALFORMED,
    }),
  ),
  {
    kind: "missing member",
    name: "the key",
    why: "RFC 7515 section 4.1.4",
    make: (door) =>
      headed(door, { alg: door.header["alg"], typ: door.features.has("secret") ? "x" : door.typ }),
    expected: MALFORMED,
  },

  spelt("duplicate in the header", "alg, before", "RFC 7515 section 4: names are unique", (text) =>
    text.replace("{", '{"alg":"none",'),
  ),
  spelt("duplicate in the header", "alg, behind", "RFC 8725 section 2.10", (text) =>
    text.replace(/\}$/, ',"alg":"none"}'),
  ),
  spelt("duplicate in the header", "typ, equal", "RFC 7515 section 4", (text) =>
    text.replace(/\}$/, `,${/"typ":"[^"]*"/.exec(text)?.[0] ?? ""}}`),
  ),
  spelt("duplicate in the header", "alg, escaped", "RFC 8725 section 2.10", (text) =>
    text.replace(/\}$/, ',"\\u0061lg":"none"}'),
  ),
  spelt("spelling of the header", "an escaped name", "one spelling", (text) =>
    text.replace('"alg"', '"\\u0061lg"'),
  ),
  spelt("spelling of the header", "an escaped value", "one spelling", (text) =>
    text.replace(/"typ":"./, (found) => `${found.slice(0, -1)}\\u00${found.charCodeAt(7).toString(16)}`),
  ),
  spelt("spelling of the header", "white space", "one spelling", (text) => text.replace(",", ", ")),
  spelt("spelling of the header", "a newline behind it", "one spelling", (text) => `${text}\n`),
  spelt("spelling of the header", "a byte order mark", "RFC 8259 section 8.1", (text) => `\ufeff${text}`),
  spelt("spelling of the header", "NUL behind it", "RFC 8259", (text) => `${text}\0`),
  spelt("spelling of the header", "__proto__", "prototypes", (text) =>
    text.replace("{", '{"__proto__":{"alg":"none"},'),
  ),
  spelt("spelling of the header", "half a surrogate pair", "RFC 7493 section 2.1", (text) =>
    text.replace("{", '{"\\ud800":1,'),
  ),
  {
    kind: "spelling of the header",
    name: "another order",
    why: "one spelling",
    make: (door) => headed(door, Object.fromEntries(Object.entries(door.header).reverse())),
    expected: MALFORMED,
  },
  ...["{}", "[]", "null", '"alg"', "alg", "0"].map(
    (text): Attack => ({
      kind: "no header",
      name: text,
      why: "RFC 7515 section 5.2: a JSON object",
      make: (door) => headed(door, text),
      expected: MALFORMED,
    }),
  ),
];
