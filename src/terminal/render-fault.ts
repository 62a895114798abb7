import { type Fault, printable } from "../fault/fault.ts";
import { jsonLine, style, type Terminal } from "./output.ts";

const STACK_LINES = 8;

/** True when the arguments ask for JSON, whether or not the command takes it: its failure then is JSON too. */
export function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return (end === -1 ? argv : argv.slice(0, end)).includes("--json");
}

/** Says why the program fails, once: a block on standard error, or one JSON object on standard output. */
export function renderFault(problem: Fault, program: string, json: boolean, terminal: Terminal): void {
  if (json) terminal.out(jsonLine({ ok: false, error: problem.toJSON() }));
  else terminal.err(faultBlock(problem, program, terminal.colour.err));
}

/**
 * ```
 * agentina: Cannot read the policy "/etc/agentina/policy.toml": line 3: ...
 *   Remedy: Correct that place; ...
 *   Code:   POLICY_MALFORMED (exit status 78)
 * ```
 */
function faultBlock(problem: Fault, program: string, colour: boolean): string {
  const lines = [
    `${style.red(style.bold(`${program}:`, colour), colour)} ${problem.message}`,
    `  ${style.bold("Remedy:", colour)} ${problem.remedy}`,
    `  ${style.bold("Code:", colour)}   ${problem.code} (exit status ${problem.exit})`,
    ...defectLines(problem),
  ];
  return `${lines.join("\n")}\n`;
}

/** A defect is told with where it happened; no other fault needs that. */
function defectLines(problem: Fault): string[] {
  if (problem.code !== "INTERNAL_ERROR" || !(problem.cause instanceof Error)) return [];
  const stack = (problem.cause.stack ?? "").split("\n").slice(1, 1 + STACK_LINES);
  return stack.map((line) => `    ${printable(line.trim())}`);
}
