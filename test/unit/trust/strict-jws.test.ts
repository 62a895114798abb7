// Goal: of all texts only the one that was signed, byte for byte, by the right key for the right purpose, is opened.
// Method: sign real envelopes, then everything wrong that can be done to one, each with the code it must end in; flip
// every bit of a short one.

import { beforeAll, describe, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import * as v from "valibot";
import { isFault } from "../../../src/fault/fault.ts";
import type { SigningKey } from "../../../src/trust/keys.ts";
import { makeSigningKey } from "../../../src/trust/keys.ts";
import { signJws, signWithEmbeddedKey } from "../../../src/trust/sign-jws.ts";
import { type JwsClass, openJws, sha256Of } from "../../../src/trust/strict-jws.ts";
import { signRaw } from "./signing-world.ts";

const TYP = "agentina-demo+jws";
const DEMO = {
  what: "demo",
  typ: TYP,
  maxBytes: 2048,
  schema: v.strictObject({ n: v.number(), s: v.optional(v.string()) }),
} satisfies JwsClass<v.GenericSchema>;

/** Encodings of points of small order, reduced and not, with either sign. */
const SMALL_ORDER = [
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0000000000000000000000000000000000000000000000000000000000000080",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000080",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

let key: SigningKey;
let publicKey: CryptoKey;
let stranger: SigningKey;

beforeAll(async () => {
  key = (await makeSigningKey()).key;
  stranger = (await makeSigningKey()).key;
  publicKey = (await crypto.subtle.importKey("jwk", key.jwk, "Ed25519", true, ["verify"])) as CryptoKey;
});

const open = (text: unknown) => openJws(text, DEMO, (header) => (header.kid === key.kid ? publicKey : null));

async function codeOf(text: unknown): Promise<string> {
  try {
    await open(text);
    return "opened";
  } catch (error) {
    return isFault(error) ? error.code : `not a fault: ${String(error)}`;
  }
}

const header = (members: object = {}) => JSON.stringify({ alg: "EdDSA", kid: key.kid, typ: TYP, ...members });
const signed = () => signJws(TYP, key, { n: 1 });

test("what was signed is opened, with its digest", async () => {
  const text = await signed();
  const opened = await open(text);
  expect(opened.claims).toEqual({ n: 1 });
  expect(opened.header).toEqual({ alg: "EdDSA", kid: key.kid, typ: TYP });
  expect(opened.sha256).toBe(sha256Of(text));
});

describe("form", () => {
  test.each<[string, (text: string) => unknown, string]>([
    ["is a number", () => 1, "JWS_MALFORMED"],
    ["is null", () => null, "JWS_MALFORMED"],
    ["is an object that prints as a token", (text) => ({ toString: () => text }), "JWS_MALFORMED"],
    ["is empty", () => "", "JWS_MALFORMED"],
    ["is dots", () => "..", "JWS_MALFORMED"],
    ["has an empty header", (t) => t.slice(t.indexOf(".")), "JWS_MALFORMED"],
    ["has no signature", (t) => t.slice(0, t.lastIndexOf(".") + 1), "JWS_MALFORMED"],
    ["has two parts", (t) => t.slice(0, t.lastIndexOf(".")), "JWS_MALFORMED"],
    ["has four parts", (t) => `${t}.AAAA`, "JWS_MALFORMED"],
    ["has a leading space", (t) => ` ${t}`, "JWS_MALFORMED"],
    ["has a trailing newline", (t) => `${t}\n`, "JWS_MALFORMED"],
    ["has a space inside", (t) => t.replace(".", ". "), "JWS_MALFORMED"],
    ["is padded", (t) => `${t}==`, "JWS_MALFORMED"],
    ["is in the other base64 alphabet", (t) => t.replace(/.\./, "+."), "JWS_MALFORMED"],
    ["has a NUL", (t) => `${t}\0`, "JWS_MALFORMED"],
    ["has a letter outside ASCII", (t) => t.replace(/.$/, "é"), "JWS_MALFORMED"],
    ["has a short signature", (t) => t.slice(0, -4), "JWS_MALFORMED"],
    ["has a long signature", (t) => `${t}AAAA`, "JWS_MALFORMED"],
    ["is too large", (t) => t.replace(".", `.${"A".repeat(3000)}`), "JWS_OVERSIZED"],
    ["is too large and nonsense", () => ".".repeat(5000), "JWS_OVERSIZED"],
  ])("a text that %s is refused", async (_, spoil, code) => {
    expect(await codeOf(spoil(await signed()))).toBe(code);
  });

  test("cut at any place it is refused", async () => {
    const text = await signed();
    for (let length = 0; length < text.length; length++) {
      expect(await codeOf(text.slice(0, length))).toMatch(/^JWS_/);
    }
  });

  test("non-zero trailing bits of a part are refused: one spelling for one text", async () => {
    const text = await signed();
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const last = alphabet.indexOf(text.at(-1) ?? "");
    // 64 bytes are 86 characters, the last of which carries four spare bits.
    for (let spare = 1; spare < 16; spare++) {
      expect(await codeOf(text.slice(0, -1) + alphabet[last ^ spare])).toBe("JWS_MALFORMED");
    }
  });

  test("with any one bit flipped it is refused", async () => {
    const bytes = Buffer.from(await signed());
    let refused = 0;
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const code = await codeOf(flipped.toString("latin1"));
      expect(code).toMatch(/^JWS_/);
      refused += 1;
    }
    expect(refused).toBe(bytes.length * 8);
  });
});

describe("header", () => {
  const cases: readonly (readonly [string, () => string, string])[] = [
    ["alg none", () => header({ alg: "none" }), "JWS_WRONG_ALGORITHM"],
    ["alg HS256", () => header({ alg: "HS256" }), "JWS_WRONG_ALGORITHM"],
    ["alg ES256", () => header({ alg: "ES256" }), "JWS_WRONG_ALGORITHM"],
    [
      "alg Ed25519, the other name of the same thing",
      () => header({ alg: "Ed25519" }),
      "JWS_WRONG_ALGORITHM",
    ],
    ["alg in other letters", () => header({ alg: "eddsa" }), "JWS_WRONG_ALGORITHM"],
    ["alg that is no text", () => header({ alg: ["EdDSA"] }), "JWS_MALFORMED"],
    ["another type", () => header({ typ: "agentina-job+jws" }), "JWS_WRONG_TYPE"],
    ["the type in other letters", () => header({ typ: TYP.toUpperCase() }), "JWS_WRONG_TYPE"],
    ["another key id", () => header({ kid: "k".repeat(43) }), "JWS_UNKNOWN_KEY"],
    ["a key id that is none", () => header({ kid: "../../etc/passwd" }), "JWS_MALFORMED"],
    ["a key id that is a number", () => header({ kid: 1 }), "JWS_MALFORMED"],
    ["crit", () => header({ crit: ["exp"] }), "JWS_MALFORMED"],
    ["b64 false", () => header({ b64: false, crit: ["b64"] }), "JWS_MALFORMED"],
    ["jku", () => header({ jku: "https://evil.example" }), "JWS_MALFORMED"],
    ["x5c", () => header({ x5c: [] }), "JWS_MALFORMED"],
    ["cty", () => header({ cty: "JWT" }), "JWS_MALFORMED"],
    ["an embedded key beside the key id", () => header({ jwk: stranger.jwk }), "JWS_MALFORMED"],
    ["no type", () => JSON.stringify({ alg: "EdDSA", kid: key.kid }), "JWS_MALFORMED"],
    ["no key id", () => JSON.stringify({ alg: "EdDSA", typ: TYP }), "JWS_MALFORMED"],
    ["nothing", () => "{}", "JWS_MALFORMED"],
    ["an array", () => "[]", "JWS_MALFORMED"],
    ["no JSON", () => "alg: EdDSA", "JWS_MALFORMED"],
    ["another order", () => JSON.stringify({ typ: TYP, alg: "EdDSA", kid: key.kid }), "JWS_MALFORMED"],
    ["white space", () => header().replace(",", ", "), "JWS_MALFORMED"],
    ["a leading space", () => ` ${header()}`, "JWS_MALFORMED"],
    ["a byte order mark", () => `\ufeff${header()}`, "JWS_MALFORMED"],
    ["alg twice", () => header().replace("{", '{"alg":"none",'), "JWS_MALFORMED"],
    ["typ twice", () => header().replace("}", `,"typ":"${TYP}"}`), "JWS_MALFORMED"],
    ["an escaped name", () => header().replace('"alg"', '"\\u0061lg"'), "JWS_MALFORMED"],
    ["__proto__", () => header().replace("{", '{"__proto__":{"alg":"none"},'), "JWS_MALFORMED"],
    ["a name with half a surrogate pair", () => header().replace("{", '{"\\ud800":1,'), "JWS_MALFORMED"],
  ];
  test.each(cases)("with %s is refused though it is signed", async (_, make, code) => {
    expect(await codeOf(await signRaw(key, make(), '{"n":1}'))).toBe(code);
  });

  test("with alg none and no signature is refused", async () => {
    const unsigned = Buffer.from(header({ alg: "none" })).toString("base64url");
    expect(await codeOf(`${unsigned}.${Buffer.from('{"n":1}').toString("base64url")}.`)).toBe(
      "JWS_MALFORMED",
    );
  });

  test("with HS256 under the public key as secret is refused", async () => {
    const input = [header({ alg: "HS256" }), '{"n":1}']
      .map((p) => Buffer.from(p).toString("base64url"))
      .join(".");
    const mac = createHmac("sha512", JSON.stringify(key.jwk)).update(input).digest("base64url");
    expect(await codeOf(`${input}.${mac}`)).toBe("JWS_WRONG_ALGORITHM");
  });

  test("with an embedded key where a key id is due is refused, even signed by that key", async () => {
    expect(await codeOf(await signWithEmbeddedKey(TYP, stranger, { n: 1 }))).toBe("JWS_MALFORMED");
  });

  test("of an embedding class takes jwk and no kid", async () => {
    const cls = { ...DEMO, embeddedJwk: true as const };
    const text = await signWithEmbeddedKey(TYP, key, { n: 1 });
    expect((await openJws(text, cls, () => publicKey)).header.jwk).toEqual(key.jwk);
    expect(openJws(await signed(), cls, () => publicKey)).rejects.toMatchObject({ code: "JWS_MALFORMED" });
  });
});

describe("payload", () => {
  test.each([
    ["a duplicate member", '{"n":1,"n":2}'],
    ["a duplicate member after much white space", `{"n"${" ".repeat(500)}:1,"n":2}`],
    ["a duplicate member spelt otherwise", '{"n":1,"\\u006e":2}'],
    ["__proto__", '{"n":1,"__proto__":{}}'],
    ["1e400", '{"n":1e400}'],
    ["a number not every reader has", '{"n":9007199254740993}'],
    ["half a surrogate pair", '{"n":1,"s":"\\ud800"}'],
    ["something after it", '{"n":1} '.concat("{}")],
    ["a byte order mark", '\ufeff{"n":1}'],
    ["no JSON", "n=1"],
    ["no text", ""],
    ["33 levels", `{"n":${"[".repeat(33)}${"]".repeat(33)}}`],
  ])("with %s is refused though it is signed", async (_, payload) => {
    expect(await codeOf(await signRaw(key, header(), payload))).toBe("JWS_MALFORMED");
  });

  test.each([
    ["a member too many", '{"n":1,"x":2}'],
    ["no member", "{}"],
    ["a text for a number", '{"n":"1"}'],
    ["a list", "[1]"],
  ])("that is sound but holds %s is of another kind, and told so", async (_, payload) => {
    expect(await codeOf(await signRaw(key, header(), payload))).toBe("JWS_WRONG_CLAIMS");
  });

  test("that is not UTF-8 is refused though it is signed", async () => {
    const input = `${Buffer.from(header()).toString("base64url")}.${Buffer.from('{"n":1,"s":"\xff"}', "latin1").toString("base64url")}`;
    const signature = await crypto.subtle.sign("Ed25519", key.privateKey, Buffer.from(input));
    expect(await codeOf(`${input}.${Buffer.from(signature).toString("base64url")}`)).toBe("JWS_MALFORMED");
  });
});

describe("signature", () => {
  test("by another key under the right key id is refused", async () => {
    expect(await codeOf(await signRaw(stranger, header(), '{"n":1}'))).toBe("JWS_BAD_SIGNATURE");
  });

  test("of another text is refused", async () => {
    const [head, , signature] = (await signed()).split(".");
    const other = Buffer.from('{"n":2}').toString("base64url");
    expect(await codeOf(`${head}.${other}.${signature}`)).toBe("JWS_BAD_SIGNATURE");
  });

  test("is looked at before what it covers is read", async () => {
    expect(await codeOf(await signRaw(stranger, header({ typ: "other" }), "nonsense"))).toBe(
      "JWS_BAD_SIGNATURE",
    );
  });

  test("with the group order added to its scalar is refused: no second spelling (RFC 8032 section 5.1.7)", async () => {
    const text = await signed();
    const signature = Buffer.from(text.slice(text.lastIndexOf(".") + 1), "base64url");
    const order = 2n ** 252n + 27742317777372353535851937790883648493n;
    let scalar = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString("hex")}`) + order;
    for (let i = 32; i < 64; i++) {
      signature[i] = Number(scalar & 255n);
      scalar >>= 8n;
    }
    const malleated = `${text.slice(0, text.lastIndexOf(".") + 1)}${signature.toString("base64url")}`;
    expect(await codeOf(malleated)).toBe("JWS_BAD_SIGNATURE");
  });

  test.each(SMALL_ORDER)("under the key %s of small order is refused, whatever fits it", async (hex) => {
    const weak = await crypto.subtle.importKey("raw", Buffer.from(hex, "hex"), "Ed25519", true, ["verify"]);
    // Under the neutral element this one fits every text (RFC 8032 section 5.1.7, no cofactor needed).
    const neutral = Buffer.concat([Buffer.from([1]), Buffer.alloc(63)]).toString("base64url");
    for (let n = 0; n < 32; n++) {
      const signed = [header(), `{"n":${n}}`]
        .map((part) => Buffer.from(part).toString("base64url"))
        .join(".");
      expect(openJws(`${signed}.${neutral}`, DEMO, () => weak)).rejects.toMatchObject({
        code: "JWS_BAD_SIGNATURE",
      });
    }
  });

  test("under a key of another algorithm is a defect of ours, not an answer", async () => {
    const { publicKey: p256 } = await crypto.subtle.generateKey(
      { name: "ECDSA", namedCurve: "P-256" },
      true,
      ["sign", "verify"],
    );
    expect(openJws(await signed(), DEMO, () => p256)).rejects.toThrow("Invariant broken");
  });
});
