// Goal: no secret leaves in any of its forms, however the text is cut on its way, and text without secrets is not
// touched by a single byte.
// Method: every encoder on secrets with every kind of character, within surroundings that try to hide it, cut into parts
// of every size; then secrets, surroundings and cuts made at random.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Scrubber } from "../../../../workers/scrub/scrubber.ts";
import { ENCODERS } from "./encoders.ts";

const PEM = [
  "-----BEGIN PRIVATE KEY-----",
  "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g",
  "aW5kZWVkIG5vdCBhIGtleSBhdCBhbGwsIGJ1dCBpdCBsb29rcyBsaWtlIG9uZSA=",
  "-----END PRIVATE KEY-----",
  "",
].join("\n");

const SECRETS: Readonly<Record<string, string>> = {
  TOKEN: "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
  SHORT: "h7$kQz",
  WORDS: "correct horse battery staple",
  HARD: `it's "q"\\n <a&b> %41 /path?x=1+2 $HOME \`id\``,
  WIDE: "pässwörd-日本語-😀-end",
  URL: "postgres://app:p%40ss+w0rd@db.internal:5432/main?sslmode=require",
  BINARY: "\u0001\u0002\u001b[31mred\u007f",
  PERIODIC: "abababababab",
  QUOTES: `''"\\'aaaaaa''`,
  KEY: PEM,
};

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (parts: readonly Uint8Array[]): string => Buffer.concat(parts).toString();

/** The scrubbed text of parts as they arrive; a part is overwritten once it has been taken. */
function scrubbed(scrubber: Scrubber, parts: readonly Uint8Array[]): string {
  const stream = scrubber.stream();
  const out: Uint8Array[] = [];
  for (const part of parts) {
    const lent = part.slice();
    out.push(stream.push(lent).slice());
    lent.fill(0x21);
  }
  out.push(stream.end());
  return text(out);
}

function cut(whole: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0, index = 0; at < whole.length; index++) {
    const size = Math.max(1, sizes[index % sizes.length] ?? 1);
    parts.push(whole.subarray(at, at + size));
    at += size;
  }
  return parts;
}

describe.each(Object.entries(SECRETS))("%s", (name, value) => {
  const scrubber = new Scrubber({ [name]: value });
  const lines = value.trim().includes("\n");

  test.each(Object.entries(ENCODERS))("as %s", (_, encode) => {
    const form = encode(value.trim());
    for (const [before, after] of [
      ["", ""],
      ["the value is [", "] and that is all\n"],
      [`${"x".repeat(200)} `, ` ${"%\\&'=".repeat(40)}`],
    ] as const) {
      const whole = bytes(before + form + after);
      const expected = text([scrubber.bytes(whole)]);
      expect(expected).toContain(`[secret ${name}]`);
      expect(expected).not.toContain(form);
      expect(expected.startsWith(before)).toBe(true);
      expect(expected.endsWith(after)).toBe(true);
      for (const size of [1, 2, 3, 5, 7, 16, 64, 101]) {
        const out = scrubbed(scrubber, cut(whole, [size]));
        expect(out).toContain(`[secret ${name}]`);
        expect(out).not.toContain(form.slice(1, -1));
        if (lines) expect(out).not.toContain(encode(value.split("\n")[1] ?? "").slice(4, -4));
      }
    }
  });
});

test("each longer line of a value of several is found by itself", () => {
  const scrubber = new Scrubber({ KEY: PEM });
  const line = PEM.split("\n")[1] ?? "";
  expect(scrubber.text(`key: ${line}!`)).toBe("key: [secret KEY]!");
  expect(scrubber.text(`  ${Buffer.from(line).toString("base64")}`)).toMatch(/^ {2}\[secret KEY\]=*$/);
  expect(scrubber.text(PEM)).toBe("[secret KEY]\n");
  expect(scrubber.text(PEM.replaceAll("\n", "\r\n"))).toMatch(/^(\[secret KEY\]\r\n){4}$/);
});

test("the longest that begins first stands; neighbours get a mark each", () => {
  const scrubber = new Scrubber({ SHORT: "alphabet", LONG: "alphabet-soup" });
  expect(scrubber.text("an alphabet-soup and an alphabet")).toBe("an [secret LONG] and an [secret SHORT]");
  expect(scrubber.text("alphabetalphabet")).toBe("[secret SHORT][secret SHORT]");
  expect(scrubber.text("alphabet-sou")).toBe("[secret SHORT]-sou");
});

test("one inside the beginning of another is found when the other does not come to its end", () => {
  const scrubber = new Scrubber({ INNER: "alphabet", OUTER: "my-alphabet-soup" });
  expect(scrubber.text("my-alphabet-broth")).toBe("my-[secret INNER]-broth");
});

test("what stands before a form cannot hide its beginning", () => {
  const scrubber = new Scrubber({ NAME: "name/123 abc" });
  for (const before of ["\\", "\\\\", "%", "%2", "%%", "&", "&#", "&#1", "\\u00", "\\x", "C:\\"]) {
    const far = `${".".repeat(300)}${before}`;
    expect(scrubber.text(`${far}name\\/123 abc`)).toBe(`${far}[secret NAME]`);
    expect(scrubber.text(`${before}name%2F123 abc`)).toBe(`${before}[secret NAME]`);
    expect(scrubber.text(`${far}name&#47;123 abc`)).toBe(`${far}[secret NAME]`);
  }
});

test.each(["h7$kQz", "tok-123456", "a value of some length", "x".repeat(31)])(
  "%s in digits, broken at every place, cut at every place",
  (value) => {
    const scrubber = new Scrubber({ S: value });
    for (const before of [0, 1, 2]) {
      const whole = Buffer.from(`${"\u0001".repeat(before)}${value}\u0001\u0001`).toString("base64");
      const core = whole.slice(before === 0 ? 0 : before + 1, 4 * Math.floor((before + value.length) / 3));
      const from = whole.indexOf(core);
      for (let at = from; at <= from + core.length; at++) {
        const digits = `${whole.slice(0, at)}\n${whole.slice(at)}`;
        for (let place = 0; place <= digits.length; place++) {
          const lead = ".".repeat(200);
          const parts = [
            bytes(lead + digits.slice(0, place)),
            bytes(`${digits.slice(place)}${"!".repeat(200)}`),
          ];
          expect(scrubbed(scrubber, parts)).toContain("[secret S]");
        }
      }
    }
  },
);

test("a mark never spells a secret", () => {
  const scrubber = new Scrubber({ TOKEN: "secret", OTHER: "[***]x" });
  expect(scrubber.text("my secret")).toBe("my [***]");
});

test("what overlaps itself without end is one mark, and memory stays bounded", () => {
  const scrubber = new Scrubber({ PERIODIC: "abababababab" });
  const stream = scrubber.stream();
  let out = "";
  for (let round = 0; round < 2_000; round++)
    out += Buffer.from(stream.push(bytes("ab".repeat(50)))).toString();
  out += Buffer.from(stream.end()).toString();
  expect(out).toBe("[secret PERIODIC]");
});

test("nothing is held back but what may become a secret", () => {
  const stream = new Scrubber({ TOKEN: SECRETS["TOKEN"] ?? "" }).stream();
  const say = (part: string) => Buffer.from(stream.push(bytes(part))).toString();
  expect(say("Password: ")).toBe("Password: ");
  expect(say("done\n")).toBe("done\n");
  expect(say("a token ghp_16C7")).toBe("a token ");
  expect(say("e42F and no more")).toBe("ghp_16C7e42F and no more");
  expect(say("50%")).toBe("50");
  expect(say("\n")).toBe("%\n");
  expect(Buffer.from(stream.end()).toString()).toBe("");
});

test("without secrets everything passes, the very same bytes", () => {
  const stream = new Scrubber({}).stream();
  const chunk = bytes("anything");
  expect(stream.push(chunk)).toBe(chunk);
  expect(stream.end()).toHaveLength(0);
});

test("an artifact's stream", async () => {
  const scrubber = new Scrubber({ TOKEN: "tok-123456" });
  async function* source() {
    for (const part of cut(bytes("begin tok-123456 end"), [3])) yield part;
  }
  const parts: Uint8Array[] = [];
  for await (const part of scrubber.through(source())) parts.push(part.slice());
  expect(text(parts)).toBe("begin [secret TOKEN] end");
});

const secret = fc
  .oneof(
    fc.string({ minLength: 6, maxLength: 60, unit: "binary" }),
    fc.string({ minLength: 6, maxLength: 60, unit: "grapheme" }),
    fc.string({ minLength: 6, maxLength: 40, unit: fc.constantFrom("a", "b", "'", "\\", "%", " ") }),
    fc.base64String({ minLength: 8, maxLength: 200 }),
  )
  .map((value) => value.replaceAll("\0", "0").toWellFormed())
  .filter((value) => Buffer.byteLength(value.trim()) >= 6 && !/[\r\n]/.test(value));
const surroundings = fc.oneof(
  fc.string({ maxLength: 120 }),
  fc.string({ maxLength: 120, unit: fc.constantFrom("\\", "%", "'", "&", "4", "1", "u", "\n", "=", "a") }),
  fc.base64String({ maxLength: 120 }),
);
const sizes = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 8 });
const RUNS = { numRuns: 400 };

describe("at random", () => {
  test("the plain value never gets through", () => {
    fc.assert(
      fc.property(secret, surroundings, surroundings, sizes, (value, before, after, parts) => {
        const scrubber = new Scrubber({ S: value });
        const out = scrubbed(scrubber, cut(bytes(`${before}${value.trim()}${after}`), parts));
        expect(out.includes(value.trim())).toBe(false);
      }),
      RUNS,
    );
  });

  test("no encoded form gets through", () => {
    const encoder = fc.constantFrom(...Object.entries(ENCODERS));
    fc.assert(
      fc.property(
        secret,
        encoder,
        surroundings,
        surroundings,
        sizes,
        (value, [, encode], before, after, parts) => {
          const scrubber = new Scrubber({ S: value });
          const form = encode(value.trim());
          // A space ends whatever escape or number the surroundings may have begun.
          const out = scrubbed(scrubber, cut(bytes(`${before} ${form} ${after}`), parts));
          expect(out.includes(form)).toBe(false);
        },
      ),
      { numRuns: 1_500 },
    );
  });

  test("other text stays, byte for byte", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2_000 }), sizes, (noise, parts) => {
        const scrubber = new Scrubber({ A: SECRETS["TOKEN"] ?? "", B: SECRETS["HARD"] ?? "", C: PEM });
        const stream = scrubber.stream();
        const out = [...cut(noise, parts).map((part) => stream.push(part).slice()), stream.end()];
        expect(Buffer.concat(out).equals(Buffer.from(noise))).toBe(true);
      }),
      RUNS,
    );
  });

  test("near misses stay, byte for byte", () => {
    const piece = fc.constantFrom(...Object.values(ENCODERS)).chain((encode) =>
      fc.constantFrom("TOKEN", "WORDS", "HARD", "URL").chain((name) => {
        const form = encode(SECRETS[name] ?? "");
        return fc
          .integer({ min: 0, max: Math.floor(form.length / 2) })
          .map((length) => form.slice(0, length));
      }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), sizes, (pieces, parts) => {
        const { TOKEN = "", WORDS = "", HARD = "", URL: url = "" } = SECRETS;
        const scrubber = new Scrubber({ TOKEN, WORDS, HARD, URL: url });
        const whole = pieces.join("\u0003");
        expect(scrubbed(scrubber, cut(bytes(whole), parts))).toBe(whole);
      }),
      RUNS,
    );
  });
});
