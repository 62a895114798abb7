import type { ConsolaInstance } from "consola";
import type { Terminal } from "./output.ts";

/** Notices to a person, all on standard error, so that standard output holds the answer alone. */
export type Notices = Pick<ConsolaInstance, "info" | "success" | "warn">;

/** Loads consola on first need: a command that has nothing to say does not pay for it. */
export async function notices(terminal: Terminal): Promise<Notices> {
  const { createConsola } = await import("consola");
  const fancy = terminal.colour.err;
  const sink = {
    write: (text: string) => {
      terminal.err(text);
      return true;
    },
  } as NodeJS.WriteStream;
  return createConsola({
    fancy,
    level: 3,
    throttle: 0,
    stdout: sink,
    stderr: sink,
    formatOptions: { colors: fancy, compact: true, date: false },
  });
}
