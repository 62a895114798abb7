import { CONTROL } from "./control-plane/cli/control.ts";
import { processInput, runProgram, tell } from "./terminal/run-program.ts";

const input = processInput();

// What no caller awaits is a defect: it is told like every other failure.
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error: unknown) => process.exit(tell(CONTROL, input, error)));
}

process.exit(await runProgram(CONTROL, input));
