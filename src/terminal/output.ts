import { errnoOf, fault, reasonOf } from "../fault/fault.ts";

/** Where a program's words go. Tests give another. */
export interface Terminal {
  /** Writes to standard output, whole, before it returns. Throws `OutputGone` once nobody reads any more. */
  readonly out: (text: string) => void;
  /** The same for a short answer, in half the time: `out` loads a module first. */
  readonly say: (text: string) => Promise<void>;
  /** Writes to standard error; a closed one is no reason to fail, there is nobody left to tell. */
  readonly err: (text: string) => void;
  /** Whether a person looks at the stream and wants colour. */
  readonly colour: { readonly out: boolean; readonly err: boolean };
}

/** The reader of standard output has gone (`agentina status | head -1`): the command ends quietly. */
export class OutputGone extends Error {
  override readonly name = "OutputGone";
}

/** The terminal of this process. Colour needs a TTY and no NO_COLOR (no-color.org). */
export function processTerminal(env: Readonly<Record<string, string | undefined>>): Terminal {
  const wanted = !env["NO_COLOR"] && env["TERM"] !== "dumb";
  return {
    out: (text) => {
      try {
        writeWhole(1, text);
      } catch (error) {
        throw lostOutput(error);
      }
    },
    say: async (text) => {
      try {
        await Bun.write(Bun.stdout, text);
      } catch (error) {
        throw lostOutput(error);
      }
    },
    err: (text) => {
      try {
        writeWhole(2, text);
      } catch (error) {
        if (errnoOf(error) === "") throw error; // anything but a system error is our own bug
      }
    },
    colour: {
      get out() {
        return wanted && isTerminal(1);
      },
      get err() {
        return wanted && isTerminal(2);
      },
    },
  };
}

/** isatty(3). Modules of Node are loaded where they are used: each costs a start 1 to 2 ms. */
const isTerminal = (fd: number): boolean => process.getBuiltinModule("node:tty").isatty(fd);

/** One JSON text on a line of its own; what terminals act on stands as \uXXXX in it. */
export function jsonLine(value: unknown): string {
  const text = JSON.stringify(value).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (found) =>
    [...Array(found.length).keys()]
      .map((i) => `\\u${found.charCodeAt(i).toString(16).padStart(4, "0")}`)
      .join(""),
  );
  return `${text}\n`;
}

/** SGR styles (ECMA-48 section 8.3.117), or the text as it is. */
export const style = {
  bold: (text: string, colour: boolean): string => (colour ? `\u001b[1m${text}\u001b[22m` : text),
  red: (text: string, colour: boolean): string => (colour ? `\u001b[31m${text}\u001b[39m` : text),
  green: (text: string, colour: boolean): string => (colour ? `\u001b[32m${text}\u001b[39m` : text),
  yellow: (text: string, colour: boolean): string => (colour ? `\u001b[33m${text}\u001b[39m` : text),
  dim: (text: string, colour: boolean): string => (colour ? `\u001b[2m${text}\u001b[22m` : text),
} as const;

const lostOutput = (error: unknown): Error =>
  errnoOf(error) === "EPIPE"
    ? new OutputGone("standard output was closed", { cause: error })
    : fault("CLI_OUTPUT_CLOSED", { why: reasonOf(error) }, error);

/** A pipe that was made non-blocking by somebody else says EAGAIN when it is full: wait a little, write on. */
function writeWhole(fd: number, text: string): void {
  const { writeSync } = process.getBuiltinModule("node:fs");
  const bytes = Buffer.from(text);
  for (let written = 0; written < bytes.length; ) {
    try {
      written += writeSync(fd, bytes, written);
    } catch (error) {
      if (errnoOf(error) !== "EAGAIN") throw error;
      Bun.sleepSync(2);
    }
  }
}
