import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { ExitStatus } from "../fault/exit.ts";
import { fault } from "../fault/fault.ts";
import { bootId, bootMs, disk, hostName, loadAverage, memory } from "../host/facts.ts";
import { readIdentityFacts } from "../host/identity-facts.ts";
import { isRunnableKind, type JobClaims } from "../protocol/job.ts";
import { LIMITS } from "../protocol/limits.ts";
import { type HostCapabilities, probeHost } from "../sandbox/probe.ts";
import { removeTree } from "../sandbox/remove-tree.ts";
import { decide } from "../scope/decide.ts";
import { AgentLog, type Log, type LogEvent, type LogFields } from "./agent-log.ts";
import { refuseEnded } from "./boot.ts";
import { type Clock, systemRandom, systemTimers } from "./clock.ts";
import type { Directories } from "./directories.ts";
import { diskProblem } from "./disk-room.ts";
import { checkPrivateDirectory, ensurePrivateDirectory } from "./durable-file.ts";
import { noPolicy } from "./intake.ts";
import { Journal } from "./journal.ts";
import { type Host, liveOn, Reins } from "./life.ts";
import { takeLock } from "./lock.ts";
import { type LoadedPolicy, loadPolicy } from "./policy-file.ts";
import { PiscinaPool } from "./pool.ts";
import * as state from "./state-files.ts";
import { httpTransport, openHttpStream } from "./transport.ts";

export interface RunOptions {
  readonly dirs: Directories;
  readonly version: string;
  readonly bundle: "verified" | "development";
  /** Shows an event to whoever watches the console. */
  readonly echo: (event: LogEvent) => void;
}

/** Where an installed agent's own programs lie. */
const INSTALLED_PROGRAMS = "/opt/agentina";

const clock: Clock = { wallMs: Date.now, bootMs };

/**
 * The agent for the life of the process: lock, terminal order, journal, identity and seal, fingerprint, then policy and
 * probes, then the loop until drained. SIGTERM and SIGINT drain, a second one cancels; SIGUSR2 means "beat now". Throws
 * the fault that stops a start.
 */
export async function runAgent(options: RunOptions): Promise<ExitStatus> {
  const reins = new Reins();
  const letGo = onSignals(reins);
  try {
    return await underLock(options, reins);
  } finally {
    letGo();
  }
}

async function underLock(options: RunOptions, reins: Reins): Promise<ExitStatus> {
  const { dirs, version, echo } = options;
  checkPrivateDirectory(dirs.stateDir);
  const paths = state.statePaths(dirs.stateDir);
  // A seal without agent.json is an agent that lost a file, and stays to say so.
  if (!existsSync(paths.agent) && !existsSync(paths.seal)) {
    throw fault("STATE_INACTIVE", { path: dirs.stateDir });
  }
  ensurePrivateDirectory(paths.work);
  using _lock = takeLock(paths.lock, dirs.stateDir);
  await refuseEnded(dirs.stateDir);
  const agentLog = new AgentLog(dirs.logDir, clock.wallMs, echo);
  const log = agentLog.write;
  const journal = Journal.open(paths.journal);
  try {
    return await liveOn({
      ...{ stateDir: dirs.stateDir, logDir: dirs.logDir, version, bootId: bootId(), journal, log, reins },
      ...{ clock, timers: systemTimers, random: systemRandom },
      ...{ transport: httpTransport, openStream: openHttpStream },
      identityFacts: readIdentityFacts,
      makePool: (threads) =>
        new PiscinaPool(threads, (error) => log("error", "pool.error", { why: String(error) })),
      lookAround: () => lookAround(options, log),
    });
  } finally {
    journal.close();
    agentLog.close();
  }
}

function onSignals(reins: Reins): () => void {
  const drain = () => reins.drain(LIMITS.STOP_GRACE_S * 1000);
  const beatNow = () => reins.news();
  process.on("SIGTERM", drain);
  process.on("SIGINT", drain);
  process.on("SIGUSR2", beatNow);
  return () => {
    process.off("SIGTERM", drain);
    process.off("SIGINT", drain);
    process.off("SIGUSR2", beatNow);
  };
}

async function lookAround(options: RunOptions, log: Log): Promise<Host> {
  const { dirs, version, bundle } = options;
  const policy = loadPolicy(dirs, process.getuid?.() ?? 0);
  const capabilities = await probeHost();
  await sweepWork(state.statePaths(dirs.stateDir).work);
  const seen = { dirs, version, bundle, policy, capabilities };
  tellLacks(log, seen);
  return {
    hostname: hostName(),
    policy: policy && { sha256: policy.sha256, owner: policy.owner },
    // A host without bwrap advertises no kind and refuses every job, so the empty path is never used.
    tools: { bwrapPath: capabilities.bwrapPath ?? "", gitPath: capabilities.gitPath },
    decide: decider(seen),
    told: told(seen),
    facts: beatFacts(seen),
  };
}

interface Seen {
  readonly dirs: Directories;
  readonly version: string;
  readonly bundle: "verified" | "development";
  readonly policy: LoadedPolicy | null;
  readonly capabilities: HostCapabilities;
}

/** Policy, scope and host asked in one: the operator's policy first, then what this host can hold a job to. */
function decider({ policy, capabilities, dirs }: Seen): Host["decide"] {
  const forbidden = [dirs.stateDir, dirs.logDir, dirs.configDir, INSTALLED_PROGRAMS];
  return (claims: JobClaims) => {
    if (policy === null) return { ok: false as const, why: noPolicy(dirs.policyPath) };
    if (!isRunnableKind(claims.kind))
      return { ok: false as const, why: fault("JOB_KIND_UNKNOWN", { kind: claims.kind }) };
    const decision = decide(claims, policy.policy, { limits: capabilities.limits, forbidden });
    if (!decision.ok) return { ok: false as const, why: decision.refusal.fault };
    const why = capabilities.problems[0] ?? diskProblem(dirs.stateDir, disk(dirs.stateDir), claims);
    return why === null ? decision : { ok: false as const, why };
  };
}

function beatFacts({ policy, capabilities, version, bundle, dirs }: Seen): Host["facts"] {
  const allowed = policy?.policy.kinds.allow ?? [];
  const kinds = capabilities.kinds.filter((kind) => allowed.includes(kind));
  return () => ({
    version,
    bundle,
    policy: policy && { sha256: policy.sha256, owner: policy.owner },
    host: {
      hostname: hostName(),
      load1: loadAverage(),
      memory_bytes: memory(),
      disk_bytes: disk(dirs.stateDir),
      sandbox: { ok: capabilities.ok, codes: [...capabilities.codes] },
      kinds,
    },
  });
}

function told({ bundle, policy, dirs }: Seen): LogFields {
  const where = policy?.owner === "self" ? `${dirs.policyPath} (self-owned)` : dirs.policyPath;
  return { bundle, pid: process.pid, policy: policy === null ? "missing" : where };
}

function tellLacks(log: Log, { policy, capabilities, dirs }: Seen): void {
  if (policy === null) {
    const { code, message, remedy } = noPolicy(dirs.policyPath);
    log("warn", "policy.missing", { code, why: message, remedy });
  }
  for (const { code, message, remedy } of [...capabilities.problems, ...capabilities.lacks]) {
    log("warn", "host.unable", { code, why: message, remedy });
  }
}

/** What a killed agent left in the work directory: attempts' trees, never the lock or an old journal. */
async function sweepWork(work: string): Promise<void> {
  for (const name of readdirSync(work)) {
    if (/^job_[0-9A-Za-z]+\.\d+$/.test(name)) await removeTree(join(work, name));
  }
}
