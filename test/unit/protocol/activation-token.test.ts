// Goal: a token that was copied wrong is caught before anything is sent, and a right one survives how people paste.
// Method: mint tokens, then every single wrong character, every cut, swaps and noise.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { mintActivationToken, parseActivationToken } from "../../../src/protocol/activation-token.ts";
import type { RandomBytes } from "../../../src/protocol/ids.ts";

const random: RandomBytes = (count) => crypto.getRandomValues(new Uint8Array(count));
const THUMBPRINT = "T".repeat(43);
const mint = () => mintActivationToken(THUMBPRINT, random);

test("what was minted is read, with white space around it as well", () => {
  const { token, ...parts } = mint();
  expect(parseActivationToken(token)).toEqual(parts);
  expect(parseActivationToken(`\n  ${token}\r\n`)).toEqual(parts);
  expect(parts.rootThumbprint).toBe(THUMBPRINT);
});

test("two tokens are never alike, and the secret holds 256 bits", () => {
  const secrets = new Set(Array.from({ length: 500 }, () => mint().secret));
  expect(secrets.size).toBe(500);
  for (const secret of secrets) expect(secret).toMatch(/^[0-9A-Za-z]{43}$/);
});

describe("a token", () => {
  test("with any one character wrong is refused", () => {
    const { token } = mint();
    for (let at = 0; at < token.length; at++) {
      for (const wrong of ["a", "Z", "0", "_", "-", " "]) {
        if (token[at] === wrong) continue;
        expect(parseActivationToken(token.slice(0, at) + wrong + token.slice(at + 1))).toHaveProperty("why");
      }
    }
  });

  test("with two neighbours swapped is refused", () => {
    const { token } = mint();
    for (let at = 0; at + 1 < token.length; at++) {
      const [a = "", b = ""] = [token[at], token[at + 1]];
      if (a === b) continue;
      expect(parseActivationToken(token.slice(0, at) + b + a + token.slice(at + 2))).toHaveProperty("why");
    }
  });

  test("cut anywhere, doubled or broken over lines is refused", () => {
    const { token } = mint();
    for (let at = 0; at < token.length; at++) {
      expect(parseActivationToken(token.slice(0, at))).toHaveProperty("why");
      if (at > 0) expect(parseActivationToken(token.slice(at))).toHaveProperty("why");
    }
    expect(parseActivationToken(token + token)).toHaveProperty("why");
    expect(parseActivationToken(`${token.slice(0, 40)}\n${token.slice(40)}`)).toHaveProperty("why");
    expect(parseActivationToken(token.toUpperCase())).toHaveProperty("why");
  });

  test("that is anything else is refused, and the reason never repeats it", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", minLength: 4, maxLength: 300 }), (noise) => {
        const parsed = parseActivationToken(`act_${noise}`);
        if (!("why" in parsed)) throw new Error("read");
        expect(parsed.why).not.toContain(noise);
      }),
    );
    expect(parseActivationToken("")).toEqual({ why: "it is empty" });
    expect(parseActivationToken("sk_live_1234")).toEqual({ why: 'it does not begin with "act_"' });
  });

  test("of a megabyte is refused at once", () => {
    expect(parseActivationToken(`act_${"_".repeat(1_000_000)}`)).toHaveProperty("why");
  });
});
