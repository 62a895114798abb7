import { readFileSync } from "node:fs";
import { type Fault, fault } from "../fault/fault.ts";
import type { FaultCode } from "../fault/registry.ts";
import { RUNNABLE_KINDS, type RunnableKind } from "../protocol/job.ts";
import type { Grant } from "../protocol/receipt.ts";
import { findProgram } from "./host-programs.ts";
import { runInSandbox, type SandboxEnd } from "./run.ts";
import { readSystemRoots } from "./system-roots.ts";
import { LAYERS } from "./view.ts";

/** What this host can hold jobs to, found by doing it. */
export interface HostCapabilities {
  /** Jobs can run; a host without git still runs those that need none. */
  readonly ok: boolean;
  /** Why no job can run here, each with its remedy. */
  readonly problems: readonly Fault[];
  /** What only some jobs miss (git). */
  readonly lacks: readonly Fault[];
  /** Codes of both. */
  readonly codes: readonly FaultCode[];
  readonly bwrapPath: string | null;
  readonly gitPath: string | null;
  readonly layers: readonly string[];
  readonly kinds: readonly RunnableKind[];
  readonly limits: Grant["limits_enforced"];
}

/** Where the probe looks; fixed places, never PATH. */
export interface ProbePlaces {
  readonly bwrap: readonly string[];
  readonly git: readonly string[];
}

const PLACES: ProbePlaces = {
  bwrap: ["/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"],
  git: ["/usr/bin/git", "/usr/local/bin/git"],
};

/** Finds bubblewrap and git and runs one command in the very view jobs get. Takes about 10 ms, 20 when it fails. */
export async function probeHost(places: ProbePlaces = PLACES): Promise<HostCapabilities> {
  const bwrap = findProgram(places.bwrap);
  const git = findProgram(places.git);
  const problem =
    bwrap.found === "missing"
      ? fault("BWRAP_MISSING")
      : bwrap.found === "unusable"
        ? fault("BWRAP_UNUSABLE", { path: bwrap.path, why: bwrap.why })
        : await tryView(bwrap.path);
  const problems = problem === null ? [] : [problem];
  const lacks = git.found === "usable" ? [] : [fault("GIT_MISSING")];
  const ok = problems.length === 0;
  return {
    ok,
    problems,
    lacks,
    codes: [...problems, ...lacks].map(({ code }) => code),
    bwrapPath: bwrap.found === "usable" ? bwrap.path : null,
    gitPath: git.found === "usable" ? git.path : null,
    layers: ok ? LAYERS : [],
    kinds: ok ? RUNNABLE_KINDS : [],
    limits: "weak",
  };
}

const PROBE_SCRATCH_BYTES = 1_048_576;
const PROBE_MS = 10_000;

async function tryView(bwrapPath: string): Promise<Fault | null> {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), PROBE_MS);
  const end = await runTrue(bwrapPath, patience.signal);
  clearTimeout(timer);
  if (end.end === "exited" && end.exit_code === 0) return null;
  const why = end.why ?? `"true" ended with ${end.signal ?? end.exit_code ?? end.end}`;
  if (!/namespace|uid map|gid map|Operation not permitted|Permission denied/i.test(why)) {
    return fault("BWRAP_UNUSABLE", { path: bwrapPath, why });
  }
  return fault("USERNS_BLOCKED", { why, remedy: usernsRemedy(readUsernsFacts()) });
}

function runTrue(bwrapPath: string, patience: AbortSignal): Promise<SandboxEnd> {
  return runInSandbox({
    bwrapPath,
    view: {
      systemRoots: readSystemRoots(),
      workspace: null,
      home: null,
      binds: [],
      files: [],
      env: {},
      scratchBytes: PROBE_SCRATCH_BYTES,
    },
    argv: ["true"],
    fileBytesMax: PROBE_SCRATCH_BYTES,
    stop: { term: patience, kill: patience },
    onOutput: () => true,
  });
}

/** What the kernel says about unprivileged user namespaces; null for a file that is not there. */
export interface UsernsFacts {
  /** /proc/sys/kernel/apparmor_restrict_unprivileged_userns */
  readonly apparmor: string | null;
  /** /proc/sys/kernel/unprivileged_userns_clone (Debian's) */
  readonly clone: string | null;
  /** /proc/sys/user/max_user_namespaces */
  readonly max: string | null;
}

/** The one thing to do about blocked user namespaces on this host. */
export function usernsRemedy({ apparmor, clone, max }: UsernsFacts): string {
  if (max === "0") return 'Allow them: "sysctl user.max_user_namespaces=15000", and keep it in /etc/sysctl.d';
  if (clone === "0")
    return 'Allow them: "sysctl kernel.unprivileged_userns_clone=1", and keep it in /etc/sysctl.d';
  if (apparmor === "1") {
    return 'Give bwrap an AppArmor profile with "userns," (flags=(unconfined)), or set "sysctl kernel.apparmor_restrict_unprivileged_userns=0"';
  }
  return "Let this process create them: RestrictNamespaces= of its unit, or the container's seccomp and AppArmor profiles, forbid it";
}

function readUsernsFacts(): UsernsFacts {
  return {
    apparmor: readSysctl("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
    clone: readSysctl("/proc/sys/kernel/unprivileged_userns_clone"),
    max: readSysctl("/proc/sys/user/max_user_namespaces"),
  };
}

function readSysctl(path: string): string | null {
  try {
    return readFileSync(path, "latin1").trim();
  } catch {
    return null; // this kernel does not have it
  }
}
