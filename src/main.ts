import { AGENTINA } from "./cli/agentina.ts";
import { processInput, runProgram, tell } from "./terminal/run-program.ts";

// It means "beat now", and by default it ends a process: one that is still on its way to its first beat must not die of it.
process.on("SIGUSR2", () => undefined);

const input = processInput();

// What no caller awaits is a defect: it is told like every other failure, and the unit starts the agent again.
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error: unknown) => process.exit(tell(AGENTINA, input, error)));
}

process.exit(await runProgram(AGENTINA, input));
