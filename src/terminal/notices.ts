import type { ConsolaInstance } from "consola/core";
import { printable } from "../fault/fault.ts";
import { style, type Terminal } from "./output.ts";

/** Notices to a person, all on standard error, so that standard output holds the answer alone. */
export type Notices = Pick<ConsolaInstance, "info" | "success" | "warn">;

const INFO_LEVEL = 3;

/** Loads consola on first need: a command that has nothing to say does not pay for it. */
export async function notices(terminal: Terminal): Promise<Notices> {
  const { createConsola } = await import("consola/core");
  const colour = terminal.colour.err;
  return createConsola({
    level: INFO_LEVEL,
    throttle: 0,
    reporters: [
      {
        log: ({ type, args }) => {
          const text = args.map((part) => printable(String(part))).join(" ");
          terminal.err(`${label(type, colour)} ${text}\n`);
        },
      },
    ],
  });
}

function label(type: string, colour: boolean): string {
  if (type === "warn") return style.yellow("Warning:", colour);
  return type === "success" ? style.green("Done:", colour) : style.bold("Note:", colour);
}
