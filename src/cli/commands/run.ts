import { consoleLine, logLine } from "../../agent/agent-log.ts";
import { type RunOptions, runAgent } from "../../agent/run.ts";
import { readAgentFile } from "../../agent/state-files.ts";
import { EXIT } from "../../fault/exit.ts";
import { fault, isFault } from "../../fault/fault.ts";
import { shellWords } from "../../protocol/argv.ts";
import { checkOwnBundle } from "../../release/self-check.ts";
import { BUILD } from "../../terminal/build-info.ts";
import { command } from "../../terminal/command.ts";
import { refuseForeignTrust } from "../../terminal/environment.ts";
import { consoleEcho } from "../console-echo.ts";
import { directoriesOf, directoryArgs } from "../directory-args.ts";
import { forbidDumps } from "../forbid-dumps.ts";

const LAST_LINES_MS = 500;

export const runCommand = command({
  meta: {
    description:
      "Runs the agent in the foreground until it is told to stop: it beats to its Control Plane, takes signed jobs, holds each to its scope, and reports. One SIGTERM or ^C lets running jobs end, a second one cancels them. Never runs as root, and only as a verified binary.",
    examples: [
      "agentina run",
      "agentina run --state-dir ./agent --log-dir ./agent-log --policy ./policy.toml",
    ],
    exits: [[EXIT.TERMINAL, "the Control Plane ended this agent for good"]],
    trustVariables: "by-url",
  },
  args: {
    ...directoryArgs,
    json: { type: "boolean", description: "Print events as JSON lines" },
  },
  run: async (args) => {
    if (process.geteuid?.() === 0) {
      throw fault("RUN_AS_ROOT", { command: shellWords(["agentina", ...process.argv.slice(2)]) });
    }
    forbidDumps();
    const dirs = directoriesOf(args, process.env);
    const bundle = await genuine();
    const url = knownUrl(dirs.stateDir);
    if (url !== null) refuseForeignTrust(url, process.env);
    const console = consoleEcho(process.stdout);
    try {
      return await runAgent({
        dirs,
        version: BUILD.version,
        bundle,
        echo: (event) => console.write(args.json ? logLine(event) : consoleLine(event)),
      });
    } finally {
      await console.settle(LAST_LINES_MS);
    }
  },
});

/** Where this agent's Control Plane is; null when nobody can tell. What is wrong with the file is told by the boot. */
function knownUrl(stateDir: string): string | null {
  try {
    return readAgentFile(stateDir)?.url ?? null;
  } catch (error) {
    if (isFault(error)) return null;
    throw error;
  }
}

/** Only a binary that is what somebody signed runs jobs. */
async function genuine(): Promise<RunOptions["bundle"]> {
  const { verdict, why } = await checkOwnBundle(BUILD);
  if (verdict === "unverified") throw fault("RELEASE_UNVERIFIED", { why: why ?? "" });
  return verdict;
}
