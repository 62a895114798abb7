// Goal: labels are read strictly, commands are shown so that they can be pasted, a typed answer is edited as typed.
// Method: tables; the shell itself reads back what was quoted for it.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseLabels } from "../../../src/cli/labels.ts";
import { isFault } from "../../../src/fault/fault.ts";
import { shellWords } from "../../../src/protocol/argv.ts";
import { edited } from "../../../src/terminal/prompt-hidden.ts";

describe("labels", () => {
  test("are KEY=VALUE, the value may hold anything a line may", () => {
    expect(parseLabels([], "x")).toEqual({});
    expect(parseLabels(["zone=eu", "note=a=b c", "empty="], "x")).toEqual({
      zone: "eu",
      note: "a=b c",
      empty: "",
    });
  });

  test.each([
    ["without a value", ["zone"]],
    ["without a key", ["=eu"]],
    ["empty", [""]],
    ["with a key in capitals", ["Zone=eu"]],
    ["with the key __proto__", ["__proto__=1"]],
    ["with a key of Object.prototype", ["constructor=1"]],
    ["with a line break", ["zone=a\nb"]],
    ["with an escape sequence", ["zone=\u001b[2J"]],
    ["with a key twice", ["zone=a", "zone=a"]],
    ["with a long value", [`zone=${"x".repeat(129)}`]],
    ["with a long key", [`${"z".repeat(64)}=1`]],
    ["too many", Array.from({ length: 33 }, (_, i) => `k${i}=1`)],
  ])("%s are refused", (_, words) => {
    try {
      parseLabels(words, "agentina activate");
      expect.unreachable();
    } catch (error) {
      expect(isFault(error, "CLI_BAD_VALUE")).toBe(true);
    }
  });
});

test("a quoted command is what the shell reads back", () => {
  expect(shellWords(["agentina", "run", "--state-dir", "/srv/a"])).toBe("agentina run --state-dir /srv/a");
  const word = fc.string({ minLength: 0, maxLength: 12 }).filter((text) => !text.includes("\0"));
  const words = fc.sample(fc.array(word, { minLength: 1, maxLength: 4 }), 20);
  words.push(["it's", "$(x)", "`x`", "a b", "", "*", "~", "-n", "\\", "\n", "é"]);
  for (const argv of words) {
    const child = Bun.spawnSync({ cmd: ["/bin/sh", "-c", `printf '%s\\0' ${shellWords(argv)}`], env: {} });
    expect(child.stdout.toString().split("\0").slice(0, -1)).toEqual(argv);
  }
});

test.each([
  ["abc", "abc"],
  ["abx\u007fc", "abc"],
  ["\u007f\u007fabc", "abc"],
  ["wrong\u0015abc", "abc"],
  ["é😀\b", "é"],
  ["", ""],
])("%j is the answer %j", (typed, answer) => {
  expect(edited(typed)).toBe(answer);
});
