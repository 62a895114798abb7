// Goal: of two readers of an accepted document none can understand it differently: no duplicate names, no numbers or
// letters that some readers change; and no document makes us slow.
// Method: a table of documents, random values that must pass unchanged, random duplicates that must not, and texts made
// to hurt a careless scanner.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import { parseDocument, parseJson, parseValue } from "../../../src/protocol/json.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";

const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);

describe("a document is refused", () => {
  test.each([
    ["a duplicate member", '{"a":1,"a":2}', /"a" twice/],
    ["an equal duplicate member", '{"a":1,"a":1}', /"a" twice/],
    ["a duplicate member deep inside", '[{"x":[{"b":1,"c":2,"b":3}]}]', /"b" twice/],
    ["a duplicate member spelt otherwise", '{"a":1,"\\u0061":2}', /"a" twice/],
    ["a duplicate empty member", '{"":1,"":2}', /"" twice/],
    ["a duplicate member with a quote in it", '{"a\\"":1,"a\\"":2}', /twice/],
    ["a duplicate member behind much white space", `{"a"${" \t\r\n".repeat(99)}:1,"a":2}`, /"a" twice/],
    ["a duplicate member before much white space", `{"a":1,"a"${"\n".repeat(5000)}:2}`, /"a" twice/],
    ["__proto__", '{"__proto__":1}', /__proto__/],
    ["constructor", '{"env":{"constructor":"x"}}', /constructor/],
    ["prototype", '{"prototype":1}', /prototype/],
    ["__proto__ spelt otherwise", '{"\\u005f_proto__":{}}', /__proto__/],
    ["an infinite number", "1e400", /number 1e400/],
    ["a negative infinite number", "[-1E+400]", /number/],
    ["a number one beyond the safe range", '{"n":9007199254740992}', /number/],
    ["minus zero", "[-0]", /number -0,/],
    ["a whole number with a fraction", '{"n":1.0}', /number 1.0,/],
    ["a whole number with an exponent", "2E3", /number 2E3,/],
    ["a fraction that rounds to a whole number", "9007199254740990.6", /number/],
    ["a number that vanishes", "1e-400", /number/],
    ["a long number", `{"n":${"9".repeat(400)}}`, /number/],
    ["half a surrogate pair", '"\ud800"', /surrogate/],
    ["half a surrogate pair, escaped", '"\\ud800"', /surrogate/],
    ["a surrogate pair the wrong way round", '["\\udc00\\ud800"]', /surrogate/],
    ["half a surrogate pair in a name", '{"\\ud800":1}', /surrogate/],
    ["33 levels", nested(LIMITS.JSON_DEPTH + 1), /deeper than 32/],
    ["a second value", "{} {}", /not JSON/],
    ["a byte order mark", "\ufeff{}", /not JSON/],
    ["a comment", "{} // x", /not JSON/],
    ["a trailing comma", '{"a":1,}', /not JSON/],
    ["NaN", "NaN", /not JSON/],
    ["single quotes", "{'a':1}", /not JSON/],
    ["a leading zero", "01", /not JSON/],
    ["a raw control character", '"\u0001"', /not JSON/],
    ["nothing", "", /not JSON/],
  ])("that holds %s", (_, text, why) => {
    const parsed = parseJson(text);
    expect(parsed.ok).toBe(false);
    if (!parsed.ok) expect(parsed.why).toMatch(why);
  });
});

describe("a document is taken", () => {
  test.each([
    ["other names of Object.prototype", '{"toString":2,"valueOf":3}'],
    ["the same name in different objects", '[{"a":1},{"a":2},{"b":{"a":3}}]'],
    ["text that looks like members", '{"a":"\\"b\\":1","b":"{\\"a\\":2}"}'],
    ["text that looks like a number out of range", '"1e400"'],
    ["a whole surrogate pair, escaped", '"\\ud83d\\ude00"'],
    ["the largest safe number", "[9007199254740991,-9007199254740991]"],
    ["32 levels", nested(LIMITS.JSON_DEPTH)],
    ["white space around it", " \t\r\n{} \n"],
    ["fractions and exponents", "[0.1,-1.5e-7,25E-1]"],
  ])("that holds %s", (_, text) => {
    expect(parseJson(text)).toEqual({ ok: true, value: JSON.parse(text) });
  });

  test("whatever it holds, when it is sound", () => {
    const value = fc.jsonValue({ maxDepth: 6, stringUnit: "binary" });
    fc.assert(
      fc.property(value, fc.nat(4), (made, indent) => {
        const text = JSON.stringify(made, null, indent);
        const parsed = parseJson(text);
        const refused = /\d{16}|e\+|__proto__|constructor|prototype/.test(text);
        if (!refused) expect(parsed).toEqual({ ok: true, value: JSON.parse(text) });
      }),
      { numRuns: 1000 },
    );
  });
});

test("a duplicate is found wherever it is put", () => {
  const name = fc.string({ unit: "grapheme", minLength: 0, maxLength: 6 });
  const space = fc.string({ unit: fc.constantFrom(" ", "\n", "\t", "\r"), maxLength: 200 });
  fc.assert(
    fc.property(name, fc.uniqueArray(name, { maxLength: 6 }), space, fc.nat(6), (twice, others, gap, at) => {
      const members = others.filter((other) => other !== twice).map((other) => `${JSON.stringify(other)}:1`);
      members.splice(at, 0, `${JSON.stringify(twice)}${gap}:{"x":[]}`);
      members.push(`${JSON.stringify(twice)}:2`);
      expect(parseJson(`{"o":{${members.join(",")}}}`).ok).toBe(false);
    }),
    { numRuns: 500 },
  );
});

test("time grows with length, whatever the text", () => {
  const half = 500_000;
  const texts = [
    '"\\'.repeat(half),
    `"${"a".repeat(2 * half)}`,
    `"${"\\\\".repeat(half)}"`,
    '"a'.repeat(half),
    `["a"${" ".repeat(half)}${"\t".repeat(half)}]`,
    nested(half),
    "[".repeat(2 * half),
    "-".repeat(2 * half),
    "1".repeat(2 * half),
    `[${'""     ,'.repeat(half / 4)}1]`,
    `{${Array.from({ length: half / 10 }, (_, i) => `"k${i}":1`).join()}}`,
  ];
  for (const text of texts) {
    parseJson(text);
  }
});

describe("bytes", () => {
  test.each([
    ["a stray byte", [0x22, 0xff, 0x22]],
    ["a cut sequence", [0x22, 0xe2, 0x82, 0x22]],
    ["an overlong sequence", [0x22, 0xc0, 0xaf, 0x22]],
    ["an encoded surrogate", [0x22, 0xed, 0xa0, 0x80, 0x22]],
    ["a byte order mark", [0xef, 0xbb, 0xbf, 0x31]],
  ])("with %s are refused", (_, bytes) => {
    expect(parseDocument(new Uint8Array(bytes), v.unknown()).ok).toBe(false);
  });

  test("that are sound are read", () => {
    expect(parseDocument(new TextEncoder().encode('"é€😀"'), v.string())).toEqual({
      ok: true,
      value: "é€😀",
    });
  });
});

test("a value that does not fit names the place", () => {
  const schema = v.strictObject({ jobs: v.array(v.strictObject({ n: v.number() })) });
  expect(parseValue({ jobs: [{ n: 1 }, { n: "2" }] }, schema)).toMatchObject({ ok: false, path: "jobs.1.n" });
  expect(parseValue({ jobs: [{ n: 1, x: 1 }] }, schema)).toMatchObject({ ok: false, path: "jobs.0.x" });
  expect(parseValue("jobs", schema)).toMatchObject({ ok: false, path: "(document)" });
});

test("a list is not an object, even where every member may be left out", () => {
  const schema = v.strictObject({ limits: v.optional(v.strictObject({ n: v.optional(v.number()) }), {}) });
  expect(parseValue({ limits: {} }, schema)).toEqual({ ok: true, value: { limits: {} } });
  expect(parseValue({}, schema)).toEqual({ ok: true, value: { limits: {} } });
  expect(parseValue([], schema)).toMatchObject({ ok: false, path: "(document)" });
  expect(parseValue({ limits: [] }, schema)).toMatchObject({ ok: false, path: "limits" });
  expect(parseValue([], v.record(v.string(), v.unknown()))).toMatchObject({ ok: false });
});
