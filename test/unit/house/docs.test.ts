// Goal: what the pages say of the programs is what the programs do: commands, options, states, orders, files, log events.
// Method: take names out of the sources and the declared tables, take the tables out of the pages, and compare both ways.

import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { STATE_RIGHTS } from "../../../src/agent/agent-state.ts";
import { AGENTINA } from "../../../src/cli/agentina.ts";
import { CONTROL } from "../../../src/control-plane/cli/control.ts";
import { ANOMALY_KINDS } from "../../../src/protocol/api.ts";
import { FINGERPRINT_WEIGHTS } from "../../../src/protocol/fingerprint-weights.ts";
import { OrderSchema } from "../../../src/protocol/order.ts";
import { AgentStateSchema } from "../../../src/protocol/wire.ts";
import type { Command } from "../../../src/terminal/command.ts";
import type { Entry } from "../../../src/terminal/program.ts";
import { SEALED_NAMES } from "../../../src/trust/seal.ts";
import { ROOT, sourceFiles } from "../../support/source-files.ts";

const PAGES = await sourceFiles(["*.md", "docs/**/*.md"]);
const AGENT = await sourceFiles(["src/agent/**/*.ts"]);

/** Options of the scripts in package.json, which are no commands of ours. */
const SCRIPT_OPTIONS = ["--keep", "--seed", "--seeds", "--target"];
/** Names with a dot that are written in quotes and are no events: files, and the kinds of jobs. */
const NO_EVENT = /\.(?:json|jwt|jws|db|lock|pem|log|toml)$|^test\.run$/;

const page = (path: string): string => PAGES.find((one) => one.path === path)?.text ?? "";

/** The rows of the table whose head begins with `| first |`, each as its cells; a `\|` is part of a cell. */
function table(text: string, first: string): string[][] {
  const lines = text.split("\n");
  const head = lines.findIndex((line) => line.startsWith(`| ${first} |`));
  const rows = lines.slice(head + 2);
  const end = rows.findIndex((line) => !line.startsWith("|"));
  return rows.slice(0, end === -1 ? undefined : end).map((line) =>
    line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const column = (rows: string[][], at: number): string[] => rows.map((row) => row[at] ?? "");
const names = (cells: readonly string[]): string[] =>
  cells.map((cell) => /^`([^`]+)`/.exec(cell)?.[1] ?? cell);

const spans = (text: string): string[] => [...text.matchAll(/`([^`\n]+)`/g)].map(([, span = ""]) => span);

interface Called {
  readonly words: readonly string[];
  readonly command: Command;
}

async function commandsOf(entries: readonly Entry[], before: readonly string[] = []): Promise<Called[]> {
  const found = await Promise.all(
    entries.map(async (entry): Promise<Called[]> => {
      const words = [...before, entry.name];
      if (entry.kind === "absent") return [];
      if (entry.kind === "group") return await commandsOf(entry.commands, words);
      return [{ words, command: await entry.load() }];
    }),
  );
  return found.flat();
}

/** Whether a code span calls a command: `job show ID`, or one of several as in `keys list\|rotate\|revoke`. */
function calls(span: string, words: readonly string[]): boolean {
  const said = span.split(" ");
  return words.every((word, at) => said[at]?.split(/\\?\|/).includes(word));
}

const AGENT_COMMANDS = await commandsOf(AGENTINA.commands, ["agentina"]);
const CONTROL_COMMANDS = await commandsOf(CONTROL.commands);

describe("the command tables", () => {
  test.each([
    ["docs/agent.md", AGENT_COMMANDS],
    ["docs/control-plane.md", CONTROL_COMMANDS],
  ] as const)("%s names every command", (path, commands) => {
    const said = column(table(page(path), "command"), 0).flatMap(spans);
    const missing = commands.filter(({ words }) => !said.some((span) => calls(span, words)));
    expect(missing.map(({ words }) => words.join(" "))).toEqual([]);
  });

  test("no page names an option that no command takes", () => {
    const taken = [...AGENT_COMMANDS, ...CONTROL_COMMANDS].flatMap(({ command }) =>
      Object.keys(command.args),
    );
    const known = new Set([...taken.map((name) => `--${name}`), ...SCRIPT_OPTIONS, "--help", "--version"]);
    const said = PAGES.filter(({ path }) => path !== "docs/errors.md").flatMap(({ path, text }) =>
      [...text.matchAll(/(?<![\w-])--[a-z][a-z-]*/g)].map(([option]) => ({ path, option })),
    );
    expect(said.length).toBeGreaterThan(20);
    expect(said.filter(({ option }) => !known.has(option))).toEqual([]);
  });
});

describe("docs/agent.md", () => {
  const text = page("docs/agent.md");

  test("has every state in the order in which they win, with what it may do", () => {
    const rows = table(text, "state");
    expect(names(column(rows, 0))).toEqual([...AgentStateSchema.options]);
    const told = rows.map((row) => ({ accept: row[2] !== "no", start: row[3] === "yes" }));
    const truly = AgentStateSchema.options.map((state) => {
      const { accept, start } = STATE_RIGHTS[state];
      return { accept, start };
    });
    expect(told).toEqual(truly);
  });

  test("has every order, and no other", () => {
    const orders = OrderSchema.options.map(({ entries }) => entries.type.literal);
    expect(names(column(table(text, "order"), 0))).toEqual(orders);
  });

  test("has every sealed file, and says of each that it is", () => {
    const sealed = table(text, "path").filter((row) => row[2] === "yes");
    const said = sealed.flatMap(([paths = ""]) => spans(paths));
    const missing = SEALED_NAMES.filter(
      (name) => !said.some((path) => path === `STATE/${name}` || path === name.replace(/^.*\//, "")),
    );
    expect(missing).toEqual([]);
    expect(said).toHaveLength(SEALED_NAMES.length);
  });

  test("has the weight of every component", () => {
    const told = table(text, "component").flatMap(([left = "", l = "", right = "", r = ""]) => [
      [names([left])[0], Number(l)],
      [names([right])[0], Number(r)],
    ]);
    expect(Object.fromEntries(told)).toEqual(FINGERPRINT_WEIGHTS);
  });

  test("has every log event, and none that nothing writes", () => {
    const quoted = AGENT.flatMap(({ text: source }) => [...source.matchAll(/"([a-z]+\.[a-z_]+)"/g)]);
    const written = new Set(quoted.map(([, name = ""]) => name).filter((name) => !NO_EVENT.test(name)));
    const made = AGENT.flatMap(({ text: source }) => [...source.matchAll(/`([a-z]+\.)\$\{/g)]);
    const prefixes = made.map(([, prefix = ""]) => prefix);
    const told = names(column(table(text, "event"), 0));
    expect([...written].filter((name) => !told.includes(name))).toEqual([]);
    expect(prefixes.filter((prefix) => !told.some((name) => name.startsWith(prefix)))).toEqual([]);
    const known = (name: string) => written.has(name) || prefixes.some((prefix) => name.startsWith(prefix));
    expect(told.filter((name) => !known(name))).toEqual([]);
    expect(new Set(told).size).toBe(told.length);
  });

  test("has each event under the level it is written with", () => {
    const levels = new Map(table(text, "event").map(([name = "", level = ""]) => [names([name])[0], level]));
    const pattern = /\blog(?:\?\.)?\(\s*"(\w+)",\s*"([a-z]+\.[a-z_]+)"/g;
    const written = AGENT.flatMap(({ text: source }) => [...source.matchAll(pattern)]);
    const wrong = written.filter(([, level = "", event]) => !levels.get(event)?.split(", ").includes(level));
    expect(written.length).toBeGreaterThan(40);
    expect(wrong.map(([call]) => call)).toEqual([]);
  });
});

test("docs/control-plane.md has every kind of anomaly", () => {
  const said = column(table(page("docs/control-plane.md"), "kind"), 0).flatMap(spans);
  expect(said.toSorted()).toEqual([...ANOMALY_KINDS].toSorted());
});

test("every file that a page names or leads to is there", () => {
  const links = PAGES.flatMap(({ path, text }) =>
    [...text.matchAll(/\]\((?!https?:)([^)#\s]+)[^)]*\)/g)].map(([, to = ""]) => join(dirname(path), to)),
  );
  const tests = PAGES.flatMap(({ text }) => spans(text).filter((span) => /^test\/\S+\.ts$/.test(span)));
  expect(tests.length).toBeGreaterThan(10);
  expect([...links, ...tests].filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
});
