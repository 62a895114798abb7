import type { Directories } from "../../agent/directories.ts";
import { noPolicy } from "../../agent/intake.ts";
import { type LoadedPolicy, loadPolicy } from "../../agent/policy-file.ts";
import { type Finding, readStatus } from "../../agent/status.ts";
import { EXIT } from "../../fault/exit.ts";
import { type Fault, fault, isFault } from "../../fault/fault.ts";
import { type BundleCheck, checkOwnBundle } from "../../release/self-check.ts";
import { type HostCapabilities, probeHost } from "../../sandbox/probe.ts";
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
  const [view, bundle, host] = await Promise.all([
    readStatus(dirs, BUILD.version, nowMs),
    bundleOf(),
    probeHost(),
  ]);
  const policy = policyOf(dirs);
  const all = [bundle.wrong, policy.wrong, ...host.problems, ...host.lacks, weakLimits(policy, host)];
  const faults = all.filter((wrong) => wrong !== null);
  return {
    ...view,
    findings: [...view.findings, ...faults.map(finding)],
    policy: policy.loaded && {
      path: dirs.policyPath,
      sha256: policy.loaded.sha256,
      owner: policy.loaded.owner,
    },
    host: { sandbox: host.ok, layers: host.layers, limits: host.limits, kinds: host.kinds },
    bundle: { verdict: bundle.verdict, why: bundle.why },
  };
}

interface BundleView {
  readonly verdict: BundleCheck["verdict"] | "tampered";
  readonly why: string | null;
  readonly wrong: Fault | null;
}

/** A binary that is not what it says is a finding here: the command goes on and shows the rest. */
async function bundleOf(): Promise<BundleView> {
  try {
    const { verdict, why } = await checkOwnBundle(BUILD);
    const wrong = verdict === "unverified" ? fault("RELEASE_UNVERIFIED", { why: why ?? "" }) : null;
    return { verdict, why, wrong };
  } catch (error) {
    if (!isFault(error, "RELEASE_TAMPERED")) throw error;
    return { verdict: "tampered", why: String(error.params["why"]), wrong: error };
  }
}

interface PolicyView {
  readonly loaded: LoadedPolicy | null;
  readonly wrong: Fault | null;
}

/** A policy that would stop the agent is a finding here, and so is none at all. */
function policyOf(dirs: Directories): PolicyView {
  try {
    const loaded = loadPolicy(dirs, process.geteuid?.() ?? 0);
    return { loaded, wrong: loaded === null ? noPolicy(dirs.policyPath) : null };
  } catch (error) {
    if (!isFault(error)) throw error;
    return { loaded: null, wrong: error };
  }
}

/** Where nothing holds memory and processes, and the policy does not put up with that, every job is refused. */
function weakLimits({ loaded }: PolicyView, { ok, limits }: HostCapabilities): Fault | null {
  if (!ok || limits === "cgroup" || loaded === null || loaded.policy.limits.weak === "allow") return null;
  return fault("HOST_LIMITS_WEAK", { why: "no cgroup is delegated to the agent" });
}

const finding = ({ code, message, remedy }: Fault): Finding => ({ code, message, remedy });
