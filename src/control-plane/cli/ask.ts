import { fault } from "../../fault/fault.ts";
import type { Terminal } from "../../terminal/output.ts";

/** Asks a person a question that only "yes" answers with yes. Throws ANSWER_NEEDED without a terminal, ANSWER_NO. */
export async function requireYes(question: string, terminal: Terminal): Promise<void> {
  if (!process.getBuiltinModule("node:tty").isatty(0)) throw fault("ANSWER_NEEDED");
  terminal.err(`${question} [yes/no] `);
  const { createInterface } = await import("node:readline/promises");
  const lines = createInterface({ input: process.stdin, terminal: false });
  try {
    const { value } = await lines[Symbol.asyncIterator]().next();
    if (value !== "yes") throw fault("ANSWER_NO");
  } finally {
    lines.close();
  }
}
