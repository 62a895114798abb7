import type { Directories } from "../../agent/directories.ts";
import { type Finding, readStatus } from "../../agent/status.ts";
import { EXIT } from "../../fault/exit.ts";
import { type Fault, fault, isFault } from "../../fault/fault.ts";
import { type BundleCheck, checkOwnBundle } from "../../release/self-check.ts";
import { BUILD } from "../../terminal/build-info.ts";
import { command } from "../../terminal/command.ts";
import { jsonLine } from "../../terminal/output.ts";
import { directoriesOf, directoryArgs } from "../directory-args.ts";
import { dropRoot } from "../drop-root.ts";
import { type StatusReport, statusScreen } from "../status-screen.ts";

export const statusCommand = command({
  meta: {
    description:
      "Shows what is wrong and how to mend it, then who this agent is, what its license allows, when it last beat and what it is doing. Works while the agent runs, while it is down, before activation and offline; asks nobody and changes nothing.",
    examples: ["agentina status", "agentina status --json", "sudo -u agentina agentina status"],
    exits: [[EXIT.NEGATIVE, "something is wrong"]],
    trustVariables: "harmless",
  },
  args: {
    ...directoryArgs,
    json: { type: "boolean", description: "Print one JSON object" },
  },
  run: async (args, terminal) => {
    const dirs = directoriesOf(args, process.env);
    dropRoot(dirs.stateDir, process);
    const nowMs = Date.now();
    const report = await reportOf(dirs, nowMs);
    if (args.json) terminal.out(jsonLine(report));
    else terminal.out(statusScreen(report, nowMs, terminal.colour.out));
    return report.findings.length === 0 ? EXIT.OK : EXIT.NEGATIVE;
  },
});

async function reportOf(dirs: Directories, nowMs: number): Promise<StatusReport> {
  const [view, bundle] = await Promise.all([readStatus(dirs, BUILD.version, nowMs), bundleOf()]);
  const findings = bundle.finding === null ? view.findings : [bundle.finding, ...view.findings];
  return { ...view, findings, bundle: { verdict: bundle.verdict, why: bundle.why } };
}

/** A binary that is not what it says is a finding here: the command goes on and shows the rest. */
async function bundleOf(): Promise<
  Pick<BundleCheck, "why"> & { verdict: BundleCheck["verdict"] | "tampered"; finding: Finding | null }
> {
  try {
    const { verdict, why } = await checkOwnBundle(BUILD);
    const wrong = verdict === "unverified" ? fault("RELEASE_UNVERIFIED", { why: why ?? "" }) : null;
    return { verdict, why, finding: wrong && finding(wrong) };
  } catch (error) {
    if (!isFault(error, "RELEASE_TAMPERED")) throw error;
    return { verdict: "tampered", why: String(error.params["why"]), finding: finding(error) };
  }
}

const finding = ({ code, message, remedy }: Fault): Finding => ({ code, message, remedy });
