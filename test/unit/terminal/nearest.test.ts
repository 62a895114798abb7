// Goal: the hint names what was meant, or nothing.
// Method: known distances, the laws of a distance on random words, and words far from everything.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { editDistance, hintFor, nearest } from "../../../src/terminal/nearest.ts";

const KNOWN = ["activate", "run", "status", "version"];

test("counts insertions, deletions, replacements and swaps", () => {
  expect(editDistance("status", "status")).toBe(0);
  expect(editDistance("statsu", "status")).toBe(1);
  expect(editDistance("stats", "status")).toBe(1);
  expect(editDistance("kitten", "sitting")).toBe(3);
  expect(editDistance("", "run")).toBe(3);
});

test("is a distance: zero only for the same word, the same both ways, never more than the longer word", () => {
  const word = fc.string({ maxLength: 10 });
  fc.assert(
    fc.property(word, word, (a, b) => {
      const distance = editDistance(a, b);
      expect(distance === 0).toBe(a === b);
      expect(editDistance(b, a)).toBe(distance);
      expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
    }),
  );
});

test("finds what was meant and does not guess wildly", () => {
  expect(nearest("actvate", KNOWN)).toBe("activate");
  expect(nearest("RUN", KNOWN)).toBe("run");
  expect(nearest("ver", KNOWN)).toBe("version");
  expect(nearest("xyz", KNOWN)).toBeNull();
  expect(nearest("", KNOWN)).toBeNull();
  expect(nearest("hasOwnProperty", KNOWN)).toBeNull();
  expect(hintFor("statu", KNOWN)).toBe('; did you mean "status"?');
  expect(hintFor("deploy", KNOWN)).toBe("");
});
