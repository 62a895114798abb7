// A program with every kind of entry and argument, and a terminal that remembers what was written to it.

import { EXIT } from "../../../src/fault/exit.ts";
import { command } from "../../../src/terminal/command.ts";
import type { Terminal } from "../../../src/terminal/output.ts";
import type { Program } from "../../../src/terminal/program.ts";
import type { ProgramInput } from "../../../src/terminal/run-program.ts";

/** Answers with the arguments it got, as JSON. */
const echo = command({
  meta: {
    description: "Prints its arguments as one JSON object, which is all a test wants to know of it.",
    examples: ["demo echo --name x word"],
    exits: [[EXIT.NEGATIVE, "when it feels like it"]],
    trustVariables: "harmless",
  },
  args: {
    json: { type: "boolean", description: "Say it in JSON" },
    name: { type: "string", valueHint: "NAME", description: "A name", default: "nobody" },
    label: { type: "string", valueHint: "K=V", description: "A label", many: true },
    mode: { type: "enum", options: ["fast", "slow"], description: "How", default: "fast" },
    "two-words": { type: "string", valueHint: "TEXT", description: "A text without a default" },
    word: { type: "positional", description: "A word" },
    other: { type: "positional", description: "Another", required: false },
  },
  run: (args, terminal) => {
    terminal.out(`${JSON.stringify(args)}\n`);
    return EXIT.OK;
  },
});

/** Needs an option; refused with certificate variables set, as commands are unless they say otherwise. */
const online = command({
  meta: { description: "Connects.", examples: [] },
  args: { url: { type: "string", valueHint: "URL", required: true, description: "Where" } },
  run: () => EXIT.NEGATIVE,
});

const broken = command({
  meta: { description: "Fails.", examples: [], trustVariables: "harmless" },
  args: { json: { type: "boolean", description: "JSON" } },
  run: () => {
    throw new TypeError("undefined is not a \u001b[31mfunction");
  },
});

export function demoProgram(loaded: string[] = []): Program {
  const load = (name: string, it: typeof echo) => () => {
    loaded.push(name);
    return Promise.resolve(it);
  };
  return {
    name: "demo",
    version: "1.2.3",
    summary: "Shows what a command line can do",
    examples: ["demo echo hello"],
    commands: [
      { kind: "command", name: "echo", summary: "Print the arguments", load: load("echo", echo) },
      { kind: "command", name: "online", summary: "Connect somewhere", load: load("online", online) },
      { kind: "command", name: "broken", summary: "Fail", load: load("broken", broken) },
      {
        kind: "group",
        name: "job",
        summary: "Work with jobs",
        commands: [{ kind: "command", name: "show", summary: "Show one", load: load("job show", echo) }],
      },
      { kind: "absent", name: "upgrade" },
    ],
  };
}

export interface Recorder extends Terminal {
  readonly written: { out: string; err: string };
}

export function recorder(): Recorder {
  const written = { out: "", err: "" };
  return {
    written,
    out: (text) => {
      written.out += text;
    },
    say: (text) => {
      written.out += text;
      return Promise.resolve();
    },
    err: (text) => {
      written.err += text;
    },
    colour: { out: false, err: false },
  };
}

export const inputOf = (argv: readonly string[], terminal: Terminal, env = {}): ProgramInput => ({
  argv,
  env,
  execArgv: [],
  compiled: false,
  terminal,
});
