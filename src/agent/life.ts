import { EXIT, type ExitStatus } from "../fault/exit.ts";
import type { IdentityFacts } from "../host/identity-facts.ts";
import { Agent, type AgentDeps, type AgentEnd } from "./agent.ts";
import type { Log, LogFields } from "./agent-log.ts";
import { blobFetcher } from "./blobs.ts";
import { type Begun, begin } from "./boot.ts";
import type { Clock, Random, Timers } from "./clock.ts";
import type { BeatFacts } from "./compose.ts";
import type { Journal } from "./journal.ts";
import { LogShipper } from "./log-shipper.ts";
import type { WorkerPool } from "./pool.ts";
import { ReceiptWriter } from "./receipts.ts";
import { Runner, type RunnerDeps } from "./runner.ts";
import { openSecrets } from "./secrets.ts";
import { openSession, type Session } from "./session.ts";
import * as state from "./state-files.ts";
import type { OpenStream, Transport } from "./transport.ts";
import { listenForWake } from "./wake.ts";

/** What the operator and the machine let the agent do. */
export interface Host {
  readonly hostname: string;
  readonly policy: BeatFacts["policy"];
  readonly tools: RunnerDeps["tools"];
  readonly decide: AgentDeps["decide"];
  /** What the log says of it when a life begins. */
  readonly told: LogFields;
  readonly facts: () => Omit<BeatFacts, "fingerprint" | "fingerprint_unknown">;
}

/** Everything a life meets that is not its own: the process gives the real ones, tests and the simulation others. */
export interface Surroundings {
  readonly stateDir: string;
  readonly logDir: string;
  readonly version: string;
  readonly bootId: string;
  readonly journal: Journal;
  readonly log: Log;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly transport: Transport;
  readonly openStream: OpenStream;
  readonly identityFacts: () => IdentityFacts;
  readonly makePool: (threads: number) => WorkerPool;
  /** Asked once, when it is clear who this agent is; may start processes and take its time. */
  readonly lookAround: () => Promise<Host>;
  readonly reins: Reins;
}

/** What signals pull at: the process as a whole, and whichever agent lives in it now. */
export class Reins {
  private readonly stopping = new AbortController();
  private agent: Agent | null = null;

  get stopped(): AbortSignal {
    return this.stopping.signal;
  }

  drain(graceMs: number): void {
    this.stopping.abort();
    this.agent?.drain(graceMs);
  }

  news(): void {
    this.agent?.news();
  }

  hold(agent: Agent | null): void {
    this.agent = agent;
  }
}

/**
 * The agent from its journal to its end. New keys, and state files that are whole again, begin a new life in the same
 * process. Throws STATE_TERMINAL and what else stops a start.
 */
export async function liveOn(world: Surroundings): Promise<ExitStatus> {
  const { reins } = world;
  let host: Host | null = null;
  for (;;) {
    const begun = await begin({ ...world, stopped: reins.stopped });
    if (begun === null) return EXIT.OK;
    host ??= await world.lookAround();
    if (reins.stopped.aborted) return EXIT.OK;
    const end = await live(begun, host, world);
    if (end !== "again") return end;
  }
}

async function live(begun: Begun, host: Host, world: Surroundings): Promise<AgentEnd> {
  const { journal, clock, timers, random, log, reins } = world;
  const { file, identity, trust, license } = begun;
  const session = sessionOf(begun, world);
  const frame = {
    agentId: file.agent_id,
    hostname: host.hostname,
    version: world.version,
    policy: host.policy,
  };
  const receipts = new ReceiptWriter(
    journal,
    identity,
    () => frame,
    () => clock.wallMs(),
  );
  const pool = world.makePool(license.claims.max_concurrent_tasks_per_agent);
  const news = () => reins.news();
  const runner = runnerOf(begun, host, world, { session, receipts, pool, news });
  const logPath = (jti: string, attempt: number) => runner.logPath(jti, attempt);
  const shipper = new LogShipper({ journal, session, clock, timers, log, logPath });
  const { fingerprint, unknown } = begun;
  const agent = new Agent(
    {
      ...{ file, journal, session, receipts, runner, shipper, pool, clock, timers, random, log },
      jkt: identity.kid,
      stateDir: world.stateDir,
      state: begun.state,
      remnant: begun.remnant,
      bootId: world.bootId,
      facts: () => ({ ...host.facts(), fingerprint, fingerprint_unknown: [...unknown] }),
      decide: host.decide,
    },
    trust,
    license,
  );
  log("info", "agent.started", {
    ...{ agent: file.agent_id, inst: agent.inst, version: world.version, url: file.url },
    ...host.told,
  });
  reins.hold(agent);
  const over = new AbortController();
  const wake = listenForWake(
    { ...world, session, url: file.url, random01: () => random01(random), onWake: news },
    over.signal,
  );
  try {
    return await agent.run();
  } finally {
    reins.hold(null);
    over.abort();
    await wake;
  }
}

const sessionOf = ({ file, identity, sealing, license }: Begun, world: Surroundings): Session =>
  openSession({
    ...world,
    url: file.url,
    agentId: file.agent_id,
    identity,
    credentials: () =>
      sealing && { license: world.journal.readMeta("license") ?? license.text, sealing: sealing.jwk },
    loadBearer: () => state.readBearerFile(world.stateDir),
    saveBearer: (bearer) => state.writeBearerFile(world.stateDir, bearer),
  });

function runnerOf(
  { file, sealing }: Begun,
  host: Host,
  world: Surroundings,
  parts: { session: Session; receipts: ReceiptWriter; pool: WorkerPool; news: () => void },
): Runner {
  const { stateDir, openStream, timers } = world;
  return new Runner({
    ...world,
    ...parts,
    workDir: state.statePaths(stateDir).work,
    tools: host.tools,
    fetchBlob: blobFetcher(parts.session, file.url, openStream, timers),
    openSecrets: (claims) => openSecrets(claims, sealing),
  });
}

function random01(random: Random): number {
  const [a = 0, b = 0] = random(2);
  return (a * 256 + b) / 65_536;
}
