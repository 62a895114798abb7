// Goal: nothing reaches a command but what it declares, given once, with a value exactly if it takes one.
// Method: a table of wrong lines and their codes, a table of right ones and their values, and random words.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { isFault } from "../../../src/fault/fault.ts";
import { runProgram } from "../../../src/terminal/run-program.ts";
import { demoProgram, inputOf, type Recorder, recorder } from "./fixture-program.ts";

const WRONG: readonly (readonly [string, readonly string[], string])[] = [
  ["nothing at all", [], "CLI_MISSING_ARGUMENT"],
  ["an unknown command", ["ehco"], "CLI_UNKNOWN_COMMAND"],
  ["a name of Object.prototype as command", ["constructor"], "CLI_UNKNOWN_COMMAND"],
  ["__proto__ as command", ["__proto__"], "CLI_UNKNOWN_COMMAND"],
  ["an empty command", [""], "CLI_UNKNOWN_COMMAND"],
  ["a dash as command", ["-"], "CLI_UNKNOWN_COMMAND"],
  ["a command in other letters", ["Echo"], "CLI_UNKNOWN_COMMAND"],
  ["a command after --", ["--", "echo"], "CLI_UNKNOWN_FLAG"],
  ["an option of a command before it", ["--json", "echo"], "CLI_UNKNOWN_FLAG"],
  ["something after --version", ["--version", "echo"], "CLI_UNEXPECTED_ARGUMENT"],
  ["a value for --version", ["--version=1"], "CLI_UNEXPECTED_VALUE"],
  ["--version of a group", ["job", "--version"], "CLI_UNKNOWN_FLAG"],
  ["a group without a command", ["job"], "CLI_MISSING_ARGUMENT"],
  ["an unknown command of a group", ["job", "toString"], "CLI_UNKNOWN_COMMAND"],
  ["a command this build does not have", ["upgrade", "--now", "x"], "CLI_NOT_IN_THIS_BUILD"],
  ["an unknown option", ["echo", "w", "--jsno"], "CLI_UNKNOWN_FLAG"],
  ["a name of Object.prototype as option", ["echo", "w", "--toString"], "CLI_UNKNOWN_FLAG"],
  ["__proto__ as option with a value", ["echo", "w", "--__proto__=1"], "CLI_UNKNOWN_FLAG"],
  ["constructor as option with a value", ["echo", "w", "--constructor", "x"], "CLI_UNKNOWN_FLAG"],
  ["the name of a positional as option", ["echo", "--word=w"], "CLI_UNKNOWN_FLAG"],
  ["an option in camel case", ["echo", "w", "--twoWords", "x"], "CLI_UNKNOWN_FLAG"],
  ["a negated option", ["echo", "w", "--no-json"], "CLI_UNKNOWN_FLAG"],
  ["a short option", ["echo", "w", "-j"], "CLI_UNKNOWN_FLAG"],
  ["an option with one dash", ["echo", "w", "-json"], "CLI_UNKNOWN_FLAG"],
  ["an option with three dashes", ["echo", "w", "---json"], "CLI_UNKNOWN_FLAG"],
  ["an option without a name", ["echo", "w", "--=x"], "CLI_UNKNOWN_FLAG"],
  ["an option given twice", ["echo", "w", "--name", "a", "--name=a"], "CLI_REPEATED_FLAG"],
  ["a boolean given twice", ["echo", "w", "--json", "--json"], "CLI_REPEATED_FLAG"],
  ["a value for a boolean", ["echo", "w", "--json=true"], "CLI_UNEXPECTED_VALUE"],
  ["an empty value for a boolean", ["echo", "w", "--json="], "CLI_UNEXPECTED_VALUE"],
  ["a value for --help", ["echo", "--help=yes"], "CLI_UNEXPECTED_VALUE"],
  ["no value at the end", ["echo", "w", "--name"], "CLI_MISSING_VALUE"],
  ["an option where a value belongs", ["echo", "w", "--name", "--json"], "CLI_MISSING_VALUE"],
  ["-- where a value belongs", ["echo", "--name", "--", "w"], "CLI_MISSING_VALUE"],
  ["an empty value", ["echo", "w", "--name", ""], "CLI_MISSING_VALUE"],
  ["an empty value after =", ["echo", "w", "--name="], "CLI_MISSING_VALUE"],
  ["an empty value of a repeating option", ["echo", "w", "--label", "a=b", "--label="], "CLI_MISSING_VALUE"],
  ["a value outside the list", ["echo", "w", "--mode", "medium"], "CLI_BAD_VALUE"],
  ["a name of Object.prototype as listed value", ["echo", "w", "--mode=constructor"], "CLI_BAD_VALUE"],
  ["one word too many", ["echo", "a", "b", "c"], "CLI_UNEXPECTED_ARGUMENT"],
  ["one word too many after --", ["echo", "a", "b", "--", "--json"], "CLI_UNEXPECTED_ARGUMENT"],
  ["a missing word", ["echo"], "CLI_MISSING_ARGUMENT"],
  ["an empty word", ["echo", ""], "CLI_MISSING_ARGUMENT"],
  ["an empty optional word", ["echo", "a", ""], "CLI_MISSING_ARGUMENT"],
  ["a missing option", ["online"], "CLI_MISSING_ARGUMENT"],
];

const RIGHT: readonly (readonly [readonly string[], object])[] = [
  [["w"], {}],
  [["--json", "w"], { json: true }],
  [["w", "--name", "x"], { name: "x" }],
  [["w", "--name=x"], { name: "x" }],
  [["w", "--name=a=b"], { name: "a=b" }],
  [["w", "--name=--json"], { name: "--json" }],
  [["w", "--name", "-"], { name: "-" }],
  [["w", "--name", "-5"], { name: "-5" }],
  [["w", "--name", "constructor"], { name: "constructor" }],
  [["w", "--label", "a=1", "--label=b=2", "--label", "a=1"], { label: ["a=1", "b=2", "a=1"] }],
  [["w", "--two-words", "x y"], { "two-words": "x y" }],
  [["w", "--mode", "slow"], { mode: "slow" }],
  [["--", "w"], {}],
  [["w", "--"], {}],
  [["w", "--", "--json"], { other: "--json" }],
  [["w", "--", "--"], { other: "--" }],
  [["-", "-"], { word: "-", other: "-" }],
  [["--name", "x", "w", "--json", "o"], { name: "x", json: true, other: "o" }],
  [["__proto__", "--name=__proto__"], { word: "__proto__", name: "__proto__" }],
];

const UNGIVEN = { json: false, name: "nobody", label: [], mode: "fast", word: "w" };

describe("the guard", () => {
  test.each(WRONG)("refuses %s", async (_, argv, code) => {
    const terminal = recorder();
    const status = await runProgram(demoProgram(), inputOf(argv, terminal));
    expect(codeTold(terminal)).toBe(code);
    expect(status).toBe(code === "CLI_NOT_IN_THIS_BUILD" ? 69 : 64);
  });

  test.each(RIGHT)("lets %p through", async (argv, given) => {
    const terminal = recorder();
    const status = await runProgram(demoProgram(), inputOf(["echo", ...argv], terminal));
    expect(terminal.written.err).toBe("");
    expect(status).toBe(0);
    expect(JSON.parse(terminal.written.out)).toEqual({ ...UNGIVEN, ...given });
  });

  test("never lets a word through that is none, and never crashes on one", async () => {
    const word = fc.oneof(
      fc.constantFrom(
        "--json",
        "--name",
        "--label",
        "--mode",
        "slow",
        "--",
        "-",
        "a=b",
        "--name=",
        "valueOf",
      ),
      fc.string({ unit: "binary", maxLength: 12 }),
      fc.string({ maxLength: 8 }).map((text) => `--${text}`),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(word, { maxLength: 6 }), async (words) => {
        const terminal = recorder();
        const status = await runProgram(demoProgram(), inputOf(["echo", ...words], terminal));
        const isHelp = terminal.written.out.startsWith("demo echo: ");
        if (status === 0 && !isHelp) {
          const positionals = Object.entries(JSON.parse(terminal.written.out)).filter(
            ([name]) => name === "word" || name === "other",
          );
          for (const [, value] of positionals) expect(words).toContain(String(value));
        } else if (!isHelp) {
          expect(status).toBe(64);
          expect(codeTold(terminal)).toMatch(/^CLI_/);
          const { out, err } = terminal.written;
          expect(`${out}${err}`.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
        }
      }),
      { numRuns: 1500 },
    );
  });
});

describe("a refusal", () => {
  test.each([
    [["ehco"], 'did you mean "echo"?'],
    [["onl"], 'did you mean "online"?'],
    [["job", "shwo"], 'did you mean "show"?'],
    [["echo", "--jsno"], 'did you mean "--json"?'],
    [["echo", "--lable", "x"], 'did you mean "--label"?'],
    [["echo", "--twoWords"], 'did you mean "--two-words"?'],
    [["--hlep"], 'did you mean "--help"?'],
  ])("of %p names what is nearest", async (argv, hint) => {
    const terminal = recorder();
    await runProgram(demoProgram(), inputOf(argv, terminal));
    expect(terminal.written.err).toContain(hint);
  });

  test.each([
    ["something near an absent command", ["upgrad"]],
    ["something near nothing", ["constructor"]],
    ["an option near nothing", ["echo", "--toString"]],
    ["a hundred thousand letters", ["x".repeat(100_000)]],
  ])("of %s guesses nothing", async (_, argv) => {
    const terminal = recorder();
    await runProgram(demoProgram(), inputOf(argv, terminal));
    expect(terminal.written.err).not.toContain("did you mean");
    expect(terminal.written.err.length).toBeLessThan(1200);
  });

  test("is a fault value for those who call the guard themselves", async () => {
    const { guardArguments } = await import("../../../src/terminal/guard.ts");
    try {
      guardArguments("demo x", {}, ["--a\u001b[2J"]);
      expect.unreachable();
    } catch (error) {
      expect(isFault(error, "CLI_UNKNOWN_FLAG")).toBe(true);
      expect(String(error)).not.toContain("\u001b");
    }
  });
});

/** The code a failure was told with, in whichever form. */
function codeTold({ written }: Recorder): string | undefined {
  if (written.out !== "") return JSON.parse(written.out).error.code;
  return /^ {2}Code: {3}([A-Z_]+) \(exit status \d+\)$/m.exec(written.err)?.[1];
}
