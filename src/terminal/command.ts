import type { ArgsDef } from "citty";
import type { ExitStatus } from "../fault/exit.ts";
import type { Terminal } from "./output.ts";

/** `--json` and its like: given or not. */
export interface BooleanArg {
  readonly type: "boolean";
  readonly description: string;
}

/** `--name VALUE`. An empty value is never accepted. */
export interface StringArg {
  readonly type: "string";
  readonly description: string;
  /** How help writes the value: `URL`, `FILE`, `KEY=VALUE`. */
  readonly valueHint: string;
  readonly default?: string;
  readonly required?: true;
  /** May be given more than once; its value is a list. */
  readonly many?: true;
}

/** `--name VALUE` with VALUE one of `options`. */
export interface EnumArg {
  readonly type: "enum";
  readonly description: string;
  readonly options: readonly string[];
  readonly default?: string;
}

/** An argument without a name, in the order of declaration. */
export interface PositionalArg {
  readonly type: "positional";
  readonly description: string;
  /** `false` for one that may be left out. */
  readonly required?: false;
}

export type ArgSpec = BooleanArg | StringArg | EnumArg | PositionalArg;
/** By name in kebab-case, as typed on the command line without its dashes. */
export type ArgsSpec = Readonly<Record<string, ArgSpec>>;

/** What a command's `run` gets for its argument. */
export type ArgValue<A extends ArgSpec> = A extends BooleanArg
  ? boolean
  : A extends { readonly many: true }
    ? readonly string[]
    : A extends { readonly default: string } | { readonly required: true }
      ? string
      : A extends PositionalArg
        ? A extends { readonly required: false }
          ? string | undefined
          : string
        : string | undefined;
export type ArgValues<S extends ArgsSpec> = { readonly [Name in keyof S]: ArgValue<S[Name]> };

export interface CommandMeta {
  /** What it does, for the head of its help; sentences, wrapped by help. */
  readonly description: string;
  /** Whole command lines. */
  readonly examples: readonly string[];
  /** Exit statuses beside 0 and those of sysexits(3): number and meaning. */
  readonly exits?: readonly (readonly [ExitStatus, string])[];
  /**
   * Environment variables that name other certificates or switch their check off. `refused` (the default): at start.
   * `harmless`: the command opens no TLS connection. `by-url`: it calls `refuseForeignTrust(url, env)` once it knows.
   */
  readonly trustVariables?: "refused" | "harmless" | "by-url";
}

export interface CommandSpec<S extends ArgsSpec> {
  readonly meta: CommandMeta;
  readonly args: S;
  readonly run: (args: ArgValues<S>, terminal: Terminal) => ExitStatus | Promise<ExitStatus>;
}

/** Arguments that passed the guard. */
export interface GuardedArguments {
  /** For citty: every option as `--name=value`, then `--` and the positionals. */
  readonly argv: readonly string[];
  /** Values of the options that may repeat, by name. */
  readonly many: ReadonlyMap<string, readonly string[]>;
}

/** A command with the types of its arguments forgotten. Made by `command()` only. */
export interface Command {
  readonly meta: CommandMeta;
  readonly args: ArgsSpec;
  readonly invoke: (guarded: GuardedArguments, terminal: Terminal) => Promise<ExitStatus>;
}

/**
 * Declares a command. It is run by citty, but only on arguments the guard has let through: citty alone takes unknown
 * options, drops repeated ones and looks names up on the prototype.
 */
export function command<const S extends ArgsSpec>({ meta, args, run }: CommandSpec<S>): Command {
  return {
    meta,
    args,
    invoke: async ({ argv, many }, terminal) => {
      // With nothing to parse, loading a parser would take as long as half the start of `version`.
      if (argv.length === 0) return await run(valuesOf(args, defaultsOf(args), many), terminal);
      const { defineCommand, runCommand } = await import("citty");
      const definition = defineCommand({
        meta: { description: meta.description },
        args: cittyArgs(args),
        run: (context) => run(valuesOf(args, context.args, many), terminal),
      });
      const { result } = await runCommand(definition, { rawArgs: [...argv] });
      return result as ExitStatus;
    },
  };
}

function defaultsOf(args: ArgsSpec): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(args).map(([name, arg]) => [name, "default" in arg ? arg.default : undefined]),
  );
}

function cittyArgs(args: ArgsSpec): ArgsDef {
  return Object.fromEntries(
    Object.entries(args).map(([name, arg]) => [
      name,
      arg.type === "enum" ? { ...arg, options: [...arg.options] } : { ...arg },
    ]),
  );
}

function valuesOf<S extends ArgsSpec>(
  args: S,
  parsed: Readonly<Record<string, unknown>>,
  many: ReadonlyMap<string, readonly string[]>,
): ArgValues<S> {
  const values = Object.entries(args).map(([name, arg]) => {
    if (arg.type === "boolean") return [name, parsed[name] === true];
    if (arg.type === "string" && arg.many) return [name, many.get(name) ?? []];
    return [name, parsed[name]];
  });
  return Object.fromEntries(values) as ArgValues<S>;
}
