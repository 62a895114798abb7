// The signature and whose it is (RFC 8032 section 5.1.7, RFC 7515 sections 5.2 and 10, RFC 8725 sections 3.1 to 3.12).

import { createHash } from "node:crypto";
import type { SigningKey } from "../../src/trust/keys.ts";
import { anySigningKey } from "../support/authority.ts";
import { NOW_S } from "../unit/trust/signing-world.ts";
import {
  type Attack,
  type AttackClass,
  base64url,
  claiming,
  DOORS,
  type Door,
  type Doors,
  good,
  many,
} from "./door.ts";

const MAC = { bearer: "a MAC is compared, not computed from" };

export const SIGNATURE_CLASSES = {
  "signature of a stranger": {},
  "signature of another text": {},
  "malleated signature": { except: MAC },
  "signature of small order": {},
  "length of the signature": {},
  "key of small order": { needs: ["jwk"] },
  "key of another class": { needs: ["kid"] },
  "text of another class": {},
  "claims of another class": {},
  "key out of its time": { needs: ["key set"] },
} as const satisfies Readonly<Record<string, AttackClass>>;

const BAD = "JWS_BAD_SIGNATURE";
const MALFORMED = "JWS_MALFORMED";
/** Order of the base point (RFC 8032 section 5.1). */
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

const cut = (text: string): readonly [string, Buffer] => {
  const dot = text.lastIndexOf(".");
  return [text.slice(0, dot), Buffer.from(text.slice(dot + 1), "base64url")];
};

/** The right text with another signature. */
const signed = (
  kind: keyof typeof SIGNATURE_CLASSES,
  name: string,
  why: string,
  change: (signature: Buffer, input: string, door: Door) => Uint8Array | Promise<Uint8Array>,
  expected = BAD,
): Attack => ({
  kind,
  name,
  why,
  make: async (door) => {
    const [input, signature] = cut(await good(door));
    return `${input}.${base64url(await change(signature, input, door))}`;
  },
  expected,
});

const byKey = async ({ privateKey }: SigningKey, text: string | Uint8Array): Promise<Uint8Array> =>
  new Uint8Array(await crypto.subtle.sign("Ed25519", privateKey, Buffer.from(text)));

function addedOrder(signature: Buffer, times: bigint): Uint8Array {
  const out = Buffer.from(signature);
  let scalar = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString("hex")}`) + ORDER * times;
  for (let i = 32; i < 64; i++) {
    out[i] = Number(scalar & 255n);
    scalar >>= 8n;
  }
  return out;
}

const neutral = (): Buffer => Buffer.concat([Buffer.from([1]), Buffer.alloc(63)]);

const SMALL_ORDER = {
  "the neutral element": Buffer.concat([Buffer.from([1]), Buffer.alloc(31)]),
  zero: Buffer.alloc(32),
  "the neutral element, not reduced": Buffer.from(`ee${"ff".repeat(30)}7f`, "hex"),
  "order two": Buffer.from(`ec${"ff".repeat(30)}7f`, "hex"),
  "order eight": Buffer.from("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "hex"),
};

/** One private key of each class, the root, the agent's and a stranger's. */
async function otherKeys(door: Door, doors: Doors): Promise<SigningKey[]> {
  const named = DOORS.map((name) => doors[name].key).filter((key) => key !== null);
  const keys = [...new Set(named), await anySigningKey()];
  return keys.filter((key) => key !== door.key);
}

/** Right in everything, but signed by this key under its own name. */
async function signedAndNamed(door: Door, key: SigningKey): Promise<string> {
  const header = base64url(JSON.stringify({ ...door.header, kid: key.kid }));
  const input = `${header}.${base64url(JSON.stringify(door.claims))}`;
  return `${input}.${base64url(await byKey(key, input))}`;
}

/** What a door says to a right text of another one: the first of its checks that notices. */
function toForeign(door: Door, from: Door): string {
  const sameForm = door.features.has("jwk") === from.features.has("jwk") && from.key !== null;
  if (!sameForm) return door.tells(MALFORMED);
  return door.tells(door.key === from.key ? "JWS_WRONG_TYPE" : "JWS_UNKNOWN_KEY");
}

const keyTime = (name: string, keyRow: NonNullable<Attack["surroundings"]>["keyRow"]): Attack => ({
  kind: "key out of its time",
  name,
  why: "RFC 8725 section 3.12: a key signs in its window, and not after its revocation",
  make: good,
  surroundings: { ...(keyRow === undefined ? {} : { keyRow }) },
  // A license outlives its key's window, but is judged by the time it was issued at.
  expected: (door) => (door.name === "license" ? "LICENSE_INVALID" : door.tells("JWS_UNKNOWN_KEY")),
});

export const SIGNATURE_ATTACKS: readonly Attack[] = [
  signed("signature of a stranger", "under the right key id", "RFC 7515 section 5.2", async (_, input) =>
    byKey(await anySigningKey(), input),
  ),
  signed("signature of another text", "of the payload alone", "RFC 7515 section 5.2", (_, input, door) =>
    door.key === null ? new Uint8Array(64) : byKey(door.key, input.slice(input.indexOf(".") + 1)),
  ),
  signed(
    "signature of another text",
    "of its digest (Ed25519ph)",
    "RFC 8032 section 5.1",
    (_, input, door) =>
      door.key === null ? new Uint8Array(64) : byKey(door.key, createHash("sha512").update(input).digest()),
  ),
  {
    kind: "signature of another text",
    name: "of one with other claims",
    why: "RFC 7515 section 5.2",
    make: async (door) => {
      const [, signature] = cut(await good(door));
      return `${cut(await claiming(door, { zz: 1 }))[0]}.${base64url(signature)}`;
    },
    expected: BAD,
  },
  ...[1n, 2n, 7n].map((times) =>
    signed(
      "malleated signature",
      `its scalar plus ${times} times the group's order`,
      "RFC 8032 section 5.1.7: one signature, one spelling",
      (signature) => addedOrder(signature, times),
    ),
  ),
  signed("malleated signature", "its point with the other sign", "RFC 8032 section 5.1.7", (signature) => {
    const out = Buffer.from(signature);
    out[31] = (out[31] ?? 0) ^ 0x80;
    return out;
  }),
  signed("signature of small order", "zeros", "RFC 8725 section 3.4", () => new Uint8Array(64)),
  signed("signature of small order", "ones", "RFC 8725 section 3.4", () => new Uint8Array(64).fill(255)),
  signed("signature of small order", "the neutral element", "RFC 8725 section 3.4", neutral),
  ...[0, 1, 32, 63, 65, 128].map((length) =>
    signed(
      "length of the signature",
      `${length} bytes`,
      "RFC 8037 section 3.1: sixty-four",
      (signature, _, door) =>
        door.key === null ? Buffer.alloc(length + 1) : Buffer.alloc(length, signature),
      MALFORMED,
    ),
  ),
  ...Object.entries(SMALL_ORDER).map(
    ([name, point]): Attack => ({
      kind: "key of small order",
      name,
      why: "RFC 8725 section 3.4: under such a key one signature fits every text",
      make: async (door) => {
        const jwk = { kty: "OKP", crv: "Ed25519", x: base64url(point) };
        const header = JSON.stringify({ ...door.header, jwk });
        const input = `${base64url(header)}.${base64url(JSON.stringify(door.claims))}`;
        return `${input}.${base64url(neutral())}`;
      },
      expected: BAD,
    }),
  ),
  {
    kind: "key of another class",
    name: "each key there is, under its own name",
    why: "RFC 8725 section 3.12: one key, one class",
    make: async (door, doors) => many((await otherKeys(door, doors)).map((key) => signedAndNamed(door, key))),
    expected: "JWS_UNKNOWN_KEY",
  },
  ...DOORS.map(
    (from): Attack => ({
      kind: "text of another class",
      name: from,
      why: "RFC 8725 sections 2.7 and 3.12: what one door takes no other does",
      doors: DOORS.filter((name) => name !== from),
      make: (_, doors) => good(doors[from]),
      expected: (door, doors) => toForeign(door, doors[from]),
    }),
  ),
  {
    kind: "claims of another class",
    name: "each, under this door's header and key",
    why: "RFC 8725 section 3.12: each class has claims of its own",
    make: (door, doors) =>
      many(
        DOORS.filter((name) => name !== door.name).map((name) =>
          claiming({ ...door, claims: doors[name].claims }, {}),
        ),
      ),
    expected: "JWS_WRONG_CLAIMS",
  },
  keyTime("revoked", { revoked_at: NOW_S - 1 }),
  keyTime("past its window", { exp: NOW_S - 900 }),
  keyTime("before its window", { nbf: NOW_S + 3600 }),
];
