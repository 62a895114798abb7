import { EXIT, type ExitStatus } from "../fault/exit.ts";
import { asFault } from "../fault/fault.ts";
import { BUILD } from "./build-info.ts";
import { dropProxies, refuseForeignTrust, refuseHostileRuntime, requireHardening } from "./environment.ts";
import { guardArguments } from "./guard.ts";
import { commandHelp, levelHelp } from "./help.ts";
import { OutputGone, processTerminal, type Terminal } from "./output.ts";
import { locate, type Program } from "./program.ts";
import { renderFault, wantsJson } from "./render-fault.ts";

/** What a program starts with; the real ones are those of the process. */
export interface ProgramInput {
  readonly argv: readonly string[];
  /** Proxy variables are taken out of it. */
  readonly env: Record<string, string | undefined>;
  readonly execArgv: readonly string[];
  readonly compiled: boolean;
  readonly terminal: Terminal;
}

export const processInput = (): ProgramInput => ({
  argv: process.argv.slice(2),
  env: process.env,
  execArgv: process.execArgv,
  compiled: BUILD.compiled,
  terminal: processTerminal(process.env),
});

/**
 * Environment → guard → command → exit status. Every failure ends here and is told once. Never throws, never ends the
 * process: what it answers is the exit status.
 */
export async function runProgram(program: Program, input: ProgramInput): Promise<ExitStatus> {
  try {
    return await perform(program, input);
  } catch (error) {
    return tell(program, input, error);
  }
}

/** Tells a failure that reached nobody: a rejected promise or a throw in a callback. Answers the exit status. */
export function tell(program: Program, { argv, terminal }: ProgramInput, error: unknown): ExitStatus {
  if (error instanceof OutputGone) return EXIT.OK;
  const problem = asFault(error);
  try {
    renderFault(problem, program.name, wantsJson(argv), terminal);
  } catch (second) {
    // Standard output is gone or full: what was to be said goes to standard error instead.
    if (!(second instanceof OutputGone)) renderFault(problem, program.name, false, terminal);
  }
  return problem.exit;
}

async function perform(program: Program, input: ProgramInput): Promise<ExitStatus> {
  const { env, terminal } = input;
  requireHardening(input.compiled, input.execArgv);
  refuseHostileRuntime(env);
  dropProxies(env);
  const located = locate(program, input.argv);
  if (located.kind === "version") {
    await terminal.say(`${program.name} ${program.version}\n`);
    return EXIT.OK;
  }
  if (located.kind === "help") {
    await terminal.say(levelHelp(located.title, located.of));
    return EXIT.OK;
  }
  const { title, entry, rest } = located;
  const command = await entry.load();
  const guarded = guardArguments(title, command.args, rest);
  if (guarded === "help") {
    await terminal.say(commandHelp(title, entry, command));
    return EXIT.OK;
  }
  if ((command.meta.trustVariables ?? "refused") === "refused") refuseForeignTrust(null, env);
  return await command.invoke(guarded, terminal);
}
