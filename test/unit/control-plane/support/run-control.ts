// The command line of the Control Plane, run in this process with its words caught.

import { CONTROL } from "../../../../src/control-plane/cli/control.ts";
import { runProgram } from "../../../../src/terminal/run-program.ts";

export interface Ran {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

export async function runControl(argv: readonly string[]): Promise<Ran> {
  let out = "";
  let err = "";
  const exit = await runProgram(CONTROL, {
    argv,
    env: {},
    execArgv: [],
    compiled: false,
    terminal: {
      out: (text) => {
        out += text;
      },
      say: async (text) => {
        out += text;
      },
      err: (text) => {
        err += text;
      },
      colour: { out: false, err: false },
    },
  });
  return { exit, out, err };
}
