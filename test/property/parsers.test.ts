// Goal: whatever comes in from outside, a parser answers or gives a Fault: it never throws anything else, never hangs, and
// never lets a value through that it would read otherwise the next time.
// Method: random bytes, random JSON, and right documents with something changed, at every parser and every schema there is.

import { beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import { asFault, type Fault, fault, isFault } from "../../src/fault/fault.ts";
import { FAULTS, type FaultCode } from "../../src/fault/registry.ts";
import { parseActivationToken } from "../../src/protocol/activation-token.ts";
import { shellWords } from "../../src/protocol/argv.ts";
import { decodeBase64url, encodeBase64url } from "../../src/protocol/base64url.ts";
import { parseDocument, parseJson, parseValue } from "../../src/protocol/json.ts";
import { parsePolicy } from "../../src/scope/policy.ts";
import { DOORS, type Door, type Doors, good } from "../conformance/door.ts";
import { makeDoors } from "../conformance/doors.ts";
import { ROOT, sourceFiles } from "../support/source-files.ts";

/** Letters that parsers care about, and any others. */
const spiced = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom(...'{}[]":,.\\/-_+=0123456789eE \t\r\n\0') },
    {
      weight: 2,
      arbitrary: fc.constantFrom("\ud800", "\udc00", "\ufeff", "\u2028", "é", "😀", "%", "$", "'"),
    },
    { weight: 3, arbitrary: fc.string({ unit: "binary", maxLength: 6 }) },
  ),
  { maxLength: 60 },
);
const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 300 }),
  spiced.map((parts) => parts.join("")),
);
const anyBytes = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  anyText.map((text) => new Uint8Array(Buffer.from(text))),
);
/** As a parser would have made it: without minus zero, for one. */
const anyJson = fc
  .jsonValue({ maxDepth: 4, stringUnit: "binary" })
  .map((value) => JSON.parse(JSON.stringify(value)) as unknown);

describe("JSON", () => {
  test("of any bytes is a value or a complaint, and a value is the same when read again", () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const parsed = parseDocument(bytes, v.unknown());
        if (!parsed.ok) return expect(parsed.why).not.toBe("");
        const again = parseJson(JSON.stringify(parsed.value));
        expect(again).toEqual(parsed);
      }),
      { numRuns: 3000 },
    );
  });

  test("is what another reader makes of it: no name twice, every number whole or a fraction, nothing half", () => {
    fc.assert(
      fc.property(documents(), (text) => {
        const parsed = parseJson(text);
        expect(parsed.ok).toBe(isSound(text));
      }),
      { numRuns: 3000 },
    );
  });
});

describe("every schema", () => {
  const schemas: [string, v.GenericSchema][] = [];
  beforeAll(async () => {
    for (const { path } of await sourceFiles(["src/protocol/*.ts"])) {
      const module = (await import(`${ROOT}/${path}`)) as Record<string, unknown>;
      for (const [name, value] of Object.entries(module)) {
        if (/^[A-Z]\w*Schema$/.test(name)) schemas.push([name, value as v.GenericSchema]);
      }
    }
  });

  test("answers to any value, and what it lets through it lets through again unchanged", () => {
    expect(schemas.length).toBeGreaterThan(40);
    const edges = fc.constantFrom<unknown>(null, 0, 1e300, "", "\0", [], {}, [[]], { v: 1 });
    const value = fc.oneof({ weight: 3, arbitrary: anyJson }, { weight: 1, arbitrary: edges });
    fc.assert(
      fc.property(value, (made) => {
        for (const [name, schema] of schemas) {
          const parsed = parseValue(made, schema);
          if (!parsed.ok) continue;
          expect([name, parseValue(JSON.parse(JSON.stringify(parsed.value)), schema)]).toEqual([
            name,
            parsed,
          ]);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("every door", () => {
  let doors: Doors;
  const right = new Map<string, string>();
  beforeAll(async () => {
    doors = (await makeDoors()).doors;
    for (const name of DOORS) right.set(name, await good(doors[name]));
  });

  /** A right text with a piece of it replaced, doubled, moved or cut out. */
  const damaged = (text: string, at: number, length: number, piece: string): string => {
    const from = at % (text.length + 1);
    return text.slice(0, from) + piece + text.slice(from + (length % 40));
  };

  test.each(DOORS.map((name) => [name] as const))(
    "the one for a %s: any text is refused with a Fault",
    async (name) => {
      const door: Door = doors[name];
      const text = right.get(name) ?? "";
      const change = fc.tuple(fc.nat(), fc.nat(), anyText).map((drawn) => damaged(text, ...drawn));
      await fc.assert(
        fc.asyncProperty(fc.oneof(anyText, change), async (shown) => {
          const answer = await door.show(shown);
          if (shown === text) expect(answer).toBe("accepted");
          else expect(answer).toMatch(/^[A-Z][A-Z0-9_]+( < [A-Z][A-Z0-9_]+)?$/);
        }),
        { numRuns: 400 },
      );
    },
  );

  test.each(DOORS.map((name) => [name] as const))(
    "the one for a %s: any claims under a right signature are judged",
    async (name) => {
      const door = doors[name];
      const claims = fc.oneof(
        anyJson,
        fc.tuple(fc.constantFrom(...Object.keys(door.claims)), anyJson).map(([member, value]) => ({
          ...door.claims,
          [member]: value,
        })),
      );
      await fc.assert(
        fc.asyncProperty(claims, async (said) => {
          const header = encodeBase64url(JSON.stringify(door.header));
          const input = `${header}.${encodeBase64url(JSON.stringify(said))}`;
          const answer = await door.show(`${input}.${await door.seal(input)}`);
          expect(answer).toMatch(/^(?:accepted|license \w+|[A-Z][A-Z0-9_]+(?: < [A-Z][A-Z0-9_]+)?)$/);
        }),
        { numRuns: 200 },
      );
    },
  );
});

describe("small parsers", () => {
  test("an activation token is one, or why not", () => {
    const form = fc
      .tuple(fc.stringMatching(/^[0-9A-Za-z]{12}$/), fc.stringMatching(/^[0-9A-Za-z]{43}$/), anyText)
      .map(([id, secret, rest]) => `act_${id}_${secret}_${rest}`);
    fc.assert(
      fc.property(fc.oneof(anyText, form), (text) => {
        const parsed = parseActivationToken(text);
        if ("why" in parsed) expect(parsed.why).not.toBe("");
        else expect(text.trim().startsWith(`act_${parsed.id}_`)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  test("base64url has one spelling for every byte string, and no other text decodes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), anyText, (bytes, text) => {
        expect(decodeBase64url(encodeBase64url(bytes))).toEqual(bytes);
        const decoded = decodeBase64url(text);
        if (decoded !== null) expect(encodeBase64url(decoded)).toBe(text);
      }),
      { numRuns: 1000 },
    );
  });

  test("a policy is one, or a complaint", () => {
    const toml = fc.array(
      fc.oneof(
        fc.constantFrom(
          "[kinds]",
          "[files]",
          "[limits]",
          'allow = ["test.run"]',
          'read = ["/srv"]',
          'weak = "allow"',
        ),
        anyText,
      ),
      { maxLength: 8 },
    );
    fc.assert(
      fc.property(toml, (lines) => {
        const parsed = parsePolicy(lines.join("\n"));
        if (!parsed.ok) expect(parsed.why).not.toBe("");
      }),
      { numRuns: 1000 },
    );
  });

  test("argv as a line for a shell is read back by one as it was", () => {
    const word = fc.string({ unit: "binary", maxLength: 20 }).map((text) => text.replaceAll("\0", ""));
    const sample = fc.sample(fc.array(word, { minLength: 1, maxLength: 6 }), 40);
    const lines = sample.map((argv) => `printf '%s\\0' ${shellWords(argv)}; printf '\\0'`);
    const { stdout } = Bun.spawnSync({ cmd: ["/bin/sh", "-c", lines.join("\n")], env: { LC_ALL: "C" } });
    const wanted = sample.map((argv) => `${argv.map((text) => `${text}\0`).join("")}\0`).join("");
    expect(stdout.equals(Buffer.from(wanted))).toBe(true);
  });
});

describe("faults", () => {
  const codes = Object.keys(FAULTS) as FaultCode[];
  const make = fault as (code: FaultCode, params: Record<string, string>) => Fault;

  test("take any text for what they tell of, and fill each place once", () => {
    const text = fc.oneof(anyText, fc.constantFrom("{why}", "{path}", "$&", "$1", "{constructor}"));
    fc.assert(
      fc.property(fc.constantFrom(...codes), text, (code, value) => {
        const row = FAULTS[code];
        const names = [...`${row.sentence}${row.remedy}`.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => name);
        const made = make(code, Object.fromEntries(names.map((name) => [name, value])));
        expect(made.code).toBe(code);
        expect(isFault(made, code)).toBe(true);
        expect(() => JSON.stringify(made)).not.toThrow();
        if (names.length === 0) expect(made.message).toBe(row.sentence);
      }),
      { numRuns: 1000 },
    );
  });

  test("are made of anything that may be thrown", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          anyJson,
          fc.constantFrom(undefined, Symbol("x"), new Error("x"), () => 1),
        ),
        (thrown) => {
          expect(codes).toContain(asFault(thrown).code);
        },
      ),
    );
  });
});

/** JSON texts by other hands than JSON.stringify: doubled names, odd numbers, escapes. */
function documents(): fc.Arbitrary<string> {
  const name = fc.constantFrom(
    '"a"',
    '"b"',
    '"\\u0061"',
    '"c:"',
    '"\\\\"',
    '"\\""',
    '""',
    '"é"',
    '"\\ud83d\\ude00"',
  );
  const scalar = fc.constantFrom(
    ...["0", "-0", "1", "-1", "1.0", "0.5", "1e2", "1e-1", "9007199254740991", "9007199254740993", "1e400"],
    ...['""', '"a:1"', '"\\\\"', '"\\"{"', '"\\ud800"', '"\\ud83d\\ude00"', "true", "null"],
  );
  const { value } = fc.letrec<{ value: string }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      { weight: 3, arbitrary: scalar },
      {
        weight: 1,
        arbitrary: fc.array(tie("value"), { maxLength: 3 }).map((items) => `[${items.join(" ,")}]`),
      },
      {
        weight: 2,
        arbitrary: fc
          .array(fc.tuple(name, tie("value")), { maxLength: 4 })
          .map((members) => `{${members.map(([key, item]) => `${key} :${item}`).join("\n,")}}`),
      },
    ),
  }));
  return value;
}

/** The same rules by a slow and simple reading: a recursive descent over tokens. For texts of `documents` alone. */
function isSound(text: string): boolean {
  const tokens = text.match(/"(?:\\.|[^"\\])*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  const stack: string[][] = [];
  for (const [index, token] of tokens.entries()) {
    if (token === "{" || token === "[") stack.push([]);
    else if (token === "}" || token === "]") stack.pop();
    else if (token.startsWith('"')) {
      const value = JSON.parse(token) as string;
      if (!value.isWellFormed()) return false;
      if (tokens[index + 1] !== ":") continue;
      const names = stack.at(-1);
      if (names?.includes(value)) return false;
      names?.push(value);
    } else if (/^[-\d]/.test(token)) {
      const whole = !/[.eE]/.test(token);
      const value = Number(token);
      if (whole ? !Number.isSafeInteger(value) || Object.is(value, -0) : Number.isInteger(value))
        return false;
      if (!Number.isFinite(value)) return false;
    }
  }
  return true;
}
