// Goal: every byte string has one spelling and no other is read.
// Method: random bytes there and back, random texts that must either be the spelling of what they decode to or nothing.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { decodeBase64url, encodeBase64url } from "../../../src/protocol/base64url.ts";

test("there and back", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      expect(decodeBase64url(encodeBase64url(bytes))).toEqual(bytes);
    }),
  );
});

test("no text is read that is not the spelling", () => {
  const near = fc.string({ unit: fc.constantFrom(..."AQgw-_+/= \nZz09é"), maxLength: 12 });
  fc.assert(
    fc.property(near, (text) => {
      const bytes = decodeBase64url(text);
      if (bytes !== null) expect(encodeBase64url(bytes)).toBe(text);
    }),
    { numRuns: 3000 },
  );
});

test.each(["A", "AB", "AAB", "AA==", "AA=", "A A", "AA\n", "+/", "AAAAA", "=", "é"])(
  "%p is nothing",
  (text) => {
    expect(decodeBase64url(text)).toBeNull();
  },
);

test("nothing is no bytes", () => {
  expect(decodeBase64url("")).toEqual(new Uint8Array());
});
