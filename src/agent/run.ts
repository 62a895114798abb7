import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { ExitStatus } from "../fault/exit.ts";
import { fault } from "../fault/fault.ts";
import { bootId, bootMs, disk, hostName, loadAverage, memory } from "../host/facts.ts";
import { makeFingerprint } from "../host/fingerprint.ts";
import { readIdentityFacts } from "../host/identity-facts.ts";
import { isRunnableKind, type JobClaims } from "../protocol/job.ts";
import { LIMITS } from "../protocol/limits.ts";
import { type HostCapabilities, probeHost } from "../sandbox/probe.ts";
import { removeTree } from "../sandbox/remove-tree.ts";
import { decide } from "../scope/decide.ts";
import type { TrustSet } from "../trust/trust-set.ts";
import { Agent } from "./agent.ts";
import { AgentLog, type Log, type LogEvent } from "./agent-log.ts";
import { blobFetcher } from "./blobs.ts";
import { type Clock, systemRandom, systemTimers } from "./clock.ts";
import type { BeatFacts } from "./compose.ts";
import type { Directories } from "./directories.ts";
import { checkPrivateDirectory, ensurePrivateDirectory } from "./durable-file.ts";
import { type Identity, loadIdentity } from "./identity.ts";
import { noPolicy } from "./intake.ts";
import { Journal } from "./journal.ts";
import { takeLock } from "./lock.ts";
import { LogShipper } from "./log-shipper.ts";
import { type LoadedPolicy, loadPolicy } from "./policy-file.ts";
import { PiscinaPool } from "./pool.ts";
import { ReceiptWriter } from "./receipts.ts";
import { Runner } from "./runner.ts";
import { openSession, type Session } from "./session.ts";
import * as state from "./state-files.ts";
import { httpTransport, openHttpStream } from "./transport.ts";
import { listenForWake } from "./wake.ts";

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
 * The agent for the life of the process: lock, journal, identity, policy, probes, then the loop until drained.
 * SIGTERM and SIGINT drain, a second one cancels; SIGUSR2 means "beat now". Throws the fault that stops a start.
 */
export async function runAgent({ dirs, version, bundle, echo }: RunOptions): Promise<ExitStatus> {
  checkPrivateDirectory(dirs.stateDir);
  const paths = state.statePaths(dirs.stateDir);
  if (state.readAgentFile(dirs.stateDir) === null) throw fault("STATE_INACTIVE", { path: dirs.stateDir });
  ensurePrivateDirectory(paths.work);
  using _lock = takeLock(paths.lock, dirs.stateDir);
  const agentLog = new AgentLog(dirs.logDir, clock.wallMs, echo);
  const log = agentLog.write;
  const journal = Journal.open(paths.journal);
  try {
    const identity = await loadIdentity(dirs.stateDir, journal, Math.floor(clock.wallMs() / 1000));
    const policy = loadPolicy(dirs, process.getuid?.() ?? 0);
    const capabilities = await probeHost();
    await sweepWork(paths.work);
    tellStart(log, { version, bundle, identity, policy, capabilities, dirs });
    const facts = beatFacts({ dirs, version, bundle, identity, policy, capabilities });
    return await live({ dirs, identity, journal, log, facts, policy, capabilities, version });
  } finally {
    journal.close();
    agentLog.close();
  }
}

interface Life {
  readonly dirs: Directories;
  readonly identity: Identity;
  readonly journal: Journal;
  readonly log: Log;
  readonly facts: () => BeatFacts;
  readonly policy: LoadedPolicy | null;
  readonly capabilities: HostCapabilities;
  readonly version: string;
}

async function live(life: Life): Promise<ExitStatus> {
  const { dirs, identity, journal, log, policy } = life;
  const session = sessionOf(dirs.stateDir, identity);
  const frame = {
    agentId: identity.file.agent_id,
    hostname: hostName(),
    version: life.version,
    policy: policy && { sha256: policy.sha256, owner: policy.owner },
  };
  const receipts = new ReceiptWriter(journal, identity.keys.identity, () => frame, clock.wallMs);
  const cap = identity.license.claims.max_concurrent_tasks_per_agent;
  const pool = new PiscinaPool(cap, (error) => log("error", "pool.error", { why: String(error) }));
  const news = () => agent.news();
  const runner = runnerOf(life, { session, receipts, pool, news });
  const logPath = (jti: string, attempt: number) => runner.logPath(jti, attempt);
  const shipper = new LogShipper({ journal, session, clock, timers: systemTimers, log, logPath });
  const agent = new Agent(
    {
      file: identity.file,
      jkt: identity.keys.identity.kid,
      journal,
      session,
      receipts,
      runner,
      shipper,
      pool,
      clock,
      timers: systemTimers,
      random: systemRandom,
      log,
      bootId: bootId(),
      facts: life.facts,
      decide: decider(life),
      persist: (license, trust) => persist(dirs.stateDir, license.text, trust),
    },
    identity.trust,
    identity.license,
  );
  return await withSignalsAndWake(agent, { session, url: identity.file.url, log });
}

async function withSignalsAndWake(
  agent: Agent,
  ctx: { session: Session; url: string; log: Log },
): Promise<ExitStatus> {
  const drain = () => agent.drain(LIMITS.STOP_GRACE_S * 1000);
  const beatNow = () => agent.news();
  process.on("SIGTERM", drain);
  process.on("SIGINT", drain);
  process.on("SIGUSR2", beatNow);
  const ended = new AbortController();
  const wake = listenForWake(
    {
      ...ctx,
      openStream: openHttpStream,
      timers: systemTimers,
      random01: Math.random,
      onWake: beatNow,
    },
    ended.signal,
  );
  try {
    return await agent.run();
  } finally {
    ended.abort();
    await wake;
    process.off("SIGTERM", drain);
    process.off("SIGINT", drain);
    process.off("SIGUSR2", beatNow);
  }
}

const sessionOf = (stateDir: string, { file, keys }: Identity): Session =>
  openSession({
    url: file.url,
    agentId: file.agent_id,
    identity: keys.identity,
    transport: httpTransport,
    clock,
    random: systemRandom,
    loadBearer: () => state.readBearerFile(stateDir),
    saveBearer: (bearer) => state.writeBearerFile(stateDir, bearer),
  });

function runnerOf(
  { dirs, journal, log, capabilities, identity }: Life,
  parts: { session: Session; receipts: ReceiptWriter; pool: PiscinaPool; news: () => void },
): Runner {
  return new Runner({
    journal,
    receipts: parts.receipts,
    pool: parts.pool,
    clock,
    timers: systemTimers,
    log,
    workDir: state.statePaths(dirs.stateDir).work,
    logDir: dirs.logDir,
    // A host without bwrap advertises no kind and refuses every job, so the empty path is never used.
    tools: { bwrapPath: capabilities.bwrapPath ?? "", gitPath: capabilities.gitPath },
    fetchBlob: blobFetcher(parts.session, identity.file.url, openHttpStream),
    news: parts.news,
  });
}

/** Policy, scope and host asked in one: the operator's policy first, then what this host can hold a job to. */
function decider({ policy, capabilities, dirs }: Life) {
  const forbidden = [dirs.stateDir, dirs.logDir, dirs.configDir, INSTALLED_PROGRAMS];
  return (claims: JobClaims) => {
    if (policy === null) return { ok: false as const, why: noPolicy(dirs.policyPath) };
    if (!isRunnableKind(claims.kind))
      return { ok: false as const, why: fault("JOB_KIND_UNKNOWN", { kind: claims.kind }) };
    const problem = capabilities.problems[0];
    if (problem) return { ok: false as const, why: problem };
    const decision = decide(claims, policy.policy, { limits: capabilities.limits, forbidden });
    return decision.ok ? decision : { ok: false as const, why: decision.refusal.fault };
  };
}

function beatFacts(
  known: Omit<Parameters<typeof tellStart>[1], "dirs"> & { dirs: Directories },
): () => BeatFacts {
  const { identity, policy, capabilities, version, bundle, dirs } = known;
  const allowed = policy?.policy.kinds.allow ?? [];
  const kinds = capabilities.kinds.filter((kind) => allowed.includes(kind));
  const fingerprint = makeFingerprint(readIdentityFacts().raw, identity.trust.claims.fp_salt);
  return () => ({
    version,
    bundle,
    policy: policy && { sha256: policy.sha256, owner: policy.owner },
    fingerprint,
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

interface Start {
  readonly dirs: Directories;
  readonly version: string;
  readonly bundle: "verified" | "development";
  readonly identity: Identity;
  readonly policy: LoadedPolicy | null;
  readonly capabilities: HostCapabilities;
}

function tellStart(log: Log, { version, bundle, identity, policy, capabilities, dirs }: Start): void {
  log("info", "agent.started", {
    agent: identity.file.agent_id,
    version,
    bundle,
    pid: process.pid,
    url: identity.file.url,
    policy:
      policy === null
        ? "missing"
        : policy.owner === "root"
          ? dirs.policyPath
          : `${dirs.policyPath} (self-owned)`,
  });
  if (policy === null) {
    const { code, message, remedy } = noPolicy(dirs.policyPath);
    log("warn", "policy.missing", { code, why: message, remedy });
  }
  for (const { code, message, remedy } of [...capabilities.problems, ...capabilities.lacks]) {
    log("warn", "host.unable", { code, why: message, remedy });
  }
}

function persist(stateDir: string, license: string, trust: TrustSet): void {
  state.writeLicenseFile(stateDir, license);
  state.writeTrustFile(stateDir, trust.document);
}

/** What a killed agent left in the work directory: attempts' trees, never the lock or an old journal. */
async function sweepWork(work: string): Promise<void> {
  for (const name of readdirSync(work)) {
    if (/^job_[0-9A-Za-z]+\.\d+$/.test(name)) await removeTree(join(work, name));
  }
}
