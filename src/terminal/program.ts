import { fault } from "../fault/fault.ts";
import type { Command } from "./command.ts";
import { hintFor } from "./nearest.ts";

/** A command by name; its module is loaded only when it is called. */
export interface CommandEntry {
  readonly kind: "command";
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  readonly load: () => Promise<Command>;
}

/** Commands under a common word: `job submit`, `job show`. */
export interface GroupEntry {
  readonly kind: "group";
  readonly name: string;
  readonly summary: string;
  readonly commands: readonly Entry[];
}

/** A name that is reserved and does nothing in this build: absent from help, answered with CLI_NOT_IN_THIS_BUILD. */
export interface AbsentEntry {
  readonly kind: "absent";
  readonly name: string;
}

export type Entry = CommandEntry | GroupEntry | AbsentEntry;

export interface Program {
  readonly name: string;
  readonly summary: string;
  readonly version: string;
  readonly commands: readonly Entry[];
  /** Whole command lines for the head page of help. */
  readonly examples: readonly string[];
}

/** What a command line calls, and what is left of it. `title` is the call as typed: `agentina-control job submit`. */
export type Located =
  | {
      readonly kind: "command";
      readonly title: string;
      readonly entry: CommandEntry;
      readonly rest: string[];
    }
  | { readonly kind: "help"; readonly title: string; readonly of: Program | GroupEntry }
  | { readonly kind: "version" };

/** Follows the words of `argv` to a command. Throws a CLI_* fault for anything that leads nowhere. */
export function locate(program: Program, argv: readonly string[]): Located {
  let title = program.name;
  let level: Program | GroupEntry = program;
  for (const [index, word] of argv.entries()) {
    const rest = argv.slice(index + 1);
    if (word === "--help" || word === "-h") return { kind: "help", title, of: level };
    if (word === "--version" && level === program) return versionAlone(program, rest);
    if (word.startsWith("-") && word !== "-") throw unknownOption(word, title, level === program);
    const entry: Entry | undefined = level.commands.find(({ name }) => name === word);
    if (entry === undefined) throw unknownCommand(word, title, level);
    title = `${title} ${word}`;
    if (entry.kind === "absent") throw fault("CLI_NOT_IN_THIS_BUILD", { command: title });
    if (entry.kind === "command") return { kind: "command", title, entry, rest };
    level = entry;
  }
  throw fault("CLI_MISSING_ARGUMENT", { command: title, argument: "the name of a command" });
}

function versionAlone(program: Program, rest: readonly string[]): Located {
  const [extra] = rest;
  if (extra === undefined) return { kind: "version" };
  throw fault("CLI_UNEXPECTED_ARGUMENT", { argument: extra, command: `${program.name} --version` });
}

function unknownOption(word: string, title: string, isRoot: boolean) {
  const [flag = word] = word.split("=");
  const known = isRoot ? ["--help", "--version"] : ["--help"];
  if (known.includes(flag)) return fault("CLI_UNEXPECTED_VALUE", { flag });
  return fault("CLI_UNKNOWN_FLAG", { flag, command: title, hint: hintFor(flag, known) });
}

function unknownCommand(word: string, title: string, level: Program | GroupEntry) {
  const known = level.commands.filter(({ kind }) => kind !== "absent").map(({ name }) => name);
  const typed = [...title.split(" ").slice(1), word].join(" ");
  return fault("CLI_UNKNOWN_COMMAND", { command: typed, program: title, hint: hintFor(word, known) });
}
