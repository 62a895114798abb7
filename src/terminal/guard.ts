import { fault } from "../fault/fault.ts";
import type { ArgSpec, ArgsSpec, GuardedArguments } from "./command.ts";
import { hintFor } from "./nearest.ts";

/** Arguments citty may see, or the wish for help. */
export type Guarded = GuardedArguments | "help";

/**
 * Holds the words after a command's name against what it declares, strictly: every option known, given once (or
 * declared to repeat), with a non-empty value exactly if it takes one; as many positionals as declared. `--name value`
 * and `--name=value` are the same; a value that begins with a dash needs the second form, except `-` and numbers;
 * after `--` everything is positional. Throws CLI_* faults. Pure.
 */
export function guardArguments(title: string, args: ArgsSpec, words: readonly string[]): Guarded {
  const options = new Map(Object.entries(args).filter(([, arg]) => arg.type !== "positional"));
  const given = new Map<string, string[]>();
  const positionals: string[] = [];
  const queue = [...words];
  for (let word = queue.shift(); word !== undefined; word = queue.shift()) {
    if (word === "--") {
      positionals.push(...queue.splice(0));
    } else if (word === "-" || !word.startsWith("-")) {
      positionals.push(word);
    } else if (word === "--help" || word === "-h") {
      return "help";
    } else {
      const { name, value } = readOption(title, options, word, queue);
      given.set(name, [...(given.get(name) ?? []), value]);
    }
  }
  checkRepetition(options, given);
  checkRequired(title, options, given);
  checkPositionals(title, args, positionals);
  return { argv: cittyWords(options, given, positionals), many: manyOf(options, given) };
}

function readOption(title: string, options: ReadonlyMap<string, ArgSpec>, word: string, queue: string[]) {
  const equals = word.indexOf("=");
  const flag = equals === -1 ? word : word.slice(0, equals);
  const name = flag.slice(2);
  const option = flag.startsWith("--") ? options.get(name) : undefined;
  if (option === undefined) throw unknownOption(title, options, flag);
  const inline = equals === -1 ? undefined : word.slice(equals + 1);
  if (option.type === "boolean") {
    if (inline !== undefined) throw fault("CLI_UNEXPECTED_VALUE", { flag });
    return { name, value: "" };
  }
  const value = inline ?? (isValue(queue[0]) ? queue.shift() : undefined);
  if (value === undefined || value === "") throw fault("CLI_MISSING_VALUE", { flag, command: title });
  if (option.type === "enum" && !option.options.includes(value)) {
    const why = `it must be one of ${option.options.join(", ")}`;
    throw fault("CLI_BAD_VALUE", { flag, value, why, command: title });
  }
  return { name, value };
}

/** A word that can be meant as a value: not an option itself. */
const isValue = (word: string | undefined): boolean =>
  word !== undefined && (!word.startsWith("-") || word === "-" || /^-\d/.test(word));

function unknownOption(title: string, options: ReadonlyMap<string, ArgSpec>, flag: string) {
  const known = [...options.keys(), "help"].map((name) => `--${name}`);
  if (flag === "--help" || flag === "-h") return fault("CLI_UNEXPECTED_VALUE", { flag });
  return fault("CLI_UNKNOWN_FLAG", { flag, command: title, hint: hintFor(flag, known) });
}

function checkRepetition(
  options: ReadonlyMap<string, ArgSpec>,
  given: ReadonlyMap<string, readonly string[]>,
): void {
  for (const [name, values] of given) {
    if (values.length > 1 && !repeats(options.get(name))) {
      throw fault("CLI_REPEATED_FLAG", { flag: `--${name}` });
    }
  }
}

function checkRequired(
  title: string,
  options: ReadonlyMap<string, ArgSpec>,
  given: ReadonlyMap<string, readonly string[]>,
): void {
  for (const [name, option] of options) {
    if (option.type === "string" && option.required && !given.has(name)) {
      throw fault("CLI_MISSING_ARGUMENT", { command: title, argument: `--${name} ${option.valueHint}` });
    }
  }
}

function checkPositionals(title: string, args: ArgsSpec, positionals: readonly string[]): void {
  const declared = Object.entries(args).filter(([, arg]) => arg.type === "positional");
  const extra = positionals[declared.length];
  if (extra !== undefined) throw fault("CLI_UNEXPECTED_ARGUMENT", { argument: extra, command: title });
  for (const [index, [name, arg]] of declared.entries()) {
    const word = positionals[index];
    const optional = arg.type === "positional" && arg.required === false;
    if (word === "" || (word === undefined && !optional)) {
      throw fault("CLI_MISSING_ARGUMENT", { command: title, argument: name.toUpperCase() });
    }
  }
}

function cittyWords(
  options: ReadonlyMap<string, ArgSpec>,
  given: ReadonlyMap<string, readonly string[]>,
  positionals: readonly string[],
): string[] {
  const words = [...given]
    .filter(([name]) => !repeats(options.get(name)))
    .map(([name, [value = ""]]) =>
      options.get(name)?.type === "boolean" ? `--${name}` : `--${name}=${value}`,
    );
  return positionals.length === 0 ? words : [...words, "--", ...positionals];
}

function manyOf(
  options: ReadonlyMap<string, ArgSpec>,
  given: ReadonlyMap<string, readonly string[]>,
): ReadonlyMap<string, readonly string[]> {
  return new Map([...given].filter(([name]) => repeats(options.get(name))));
}

const repeats = (option: ArgSpec | undefined): boolean => option?.type === "string" && option.many === true;
