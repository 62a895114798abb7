import type { ArgSpec, Command } from "./command.ts";
import type { CommandEntry, GroupEntry, Program } from "./program.ts";

const WIDTH = 80;
const NAME_COLUMN_MAX = 28;
const HELP_ROW = ["-h, --help", "Show this text"] as const;
const SYSEXITS = "64 to 78 as in sysexits(3); docs/errors.md explains every code";

/** Help of a program or of a group of commands: what it is, its commands, examples. Absent commands do not appear. */
export function levelHelp(title: string, of: Program | GroupEntry): string {
  const isRoot = "version" in of;
  const commands = of.commands.filter((entry) => entry.kind !== "absent");
  const options = isRoot ? [HELP_ROW, ["--version", "Show the version"] as const] : [HELP_ROW];
  return page([
    wrap(`${title}: ${of.summary}`),
    [`Usage: ${title} COMMAND [OPTIONS]`],
    section("Commands", rows(commands.map(({ name, summary }) => [name, summary]))),
    section("Options", rows(options)),
    isRoot ? section("Examples", of.examples.map(indent)) : [],
    [`"${title} COMMAND --help" says more about a command.`],
    wrap(`Exit status: 0 done; ${SYSEXITS}.`),
  ]);
}

/** Help of one command: what it does, usage, options with defaults, examples, exit statuses. */
export function commandHelp(title: string, entry: CommandEntry, { meta, args }: Command): string {
  const all = Object.entries(args);
  const positionals = all.filter(([, arg]) => arg.type === "positional");
  const options = all.filter(([, arg]) => arg.type !== "positional");
  const exits = (meta.exits ?? []).map(([status, meaning]) => `${status} ${meaning}; `).join("");
  return page([
    wrap(`${title}: ${entry.summary}`),
    [usageLine(title, all)],
    wrap(meta.description),
    section("Arguments", rows(positionals.map(([name, arg]) => [name.toUpperCase(), arg.description]))),
    section("Options", rows([...options.map(optionRow), HELP_ROW])),
    section("Examples", meta.examples.map(indent)),
    wrap(`Exit status: 0 done; ${exits}${SYSEXITS}.`),
  ]);
}

function usageLine(title: string, args: readonly (readonly [string, ArgSpec])[]): string {
  const required = args.flatMap(([name, arg]) =>
    arg.type === "string" && arg.required ? [`--${name} ${arg.valueHint}`] : [],
  );
  const positionals = args.flatMap(([name, arg]) => {
    if (arg.type !== "positional") return [];
    return [arg.required === false ? `[${name.toUpperCase()}]` : name.toUpperCase()];
  });
  return ["Usage:", title, ...required, "[OPTIONS]", ...positionals].join(" ");
}

function optionRow([name, arg]: readonly [string, ArgSpec]): readonly [string, string] {
  if (arg.type === "boolean" || arg.type === "positional") return [`--${name}`, arg.description];
  const hint = arg.type === "enum" ? arg.options.join("|") : arg.valueHint;
  const notes = [
    arg.type === "string" && arg.required ? ["required"] : [],
    arg.type === "string" && arg.many ? ["may be repeated"] : [],
    arg.default === undefined ? [] : [`default: ${arg.default}`],
  ].flat();
  const note = notes.length === 0 ? "" : ` (${notes.join("; ")})`;
  return [`--${name} ${hint}`, `${arg.description}${note}`];
}

/** Two columns; a name too long for its column has its description below. */
function rows(pairs: readonly (readonly [string, string])[]): string[] {
  const column = Math.min(NAME_COLUMN_MAX, Math.max(0, ...pairs.map(([name]) => name.length)));
  const margin = " ".repeat(column + 4);
  return pairs.flatMap(([name, text]) => {
    const lines = wrap(text, WIDTH - margin.length);
    const [first = "", ...others] = lines;
    const head =
      name.length > column ? [`  ${name}`, `${margin}${first}`] : [`  ${name.padEnd(column)}  ${first}`];
    return [...head.map((line) => line.trimEnd()), ...others.map((line) => `${margin}${line}`)];
  });
}

/** Breaks a text at spaces so that no line is longer than `width`, words longer than that aside. */
function wrap(text: string, width = WIDTH): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

const indent = (line: string): string => `  ${line}`;
const section = (title: string, lines: readonly string[]): readonly string[] =>
  lines.length === 0 ? [] : [`${title}:`, ...lines];
const page = (blocks: readonly (readonly string[])[]): string =>
  `${blocks
    .filter((block) => block.length > 0)
    .map((block) => block.join("\n"))
    .join("\n\n")}\n`;
