// A host of a simulated world: its clocks, its disk, and the agents that live on it one after the other.

import { Database } from "bun:sqlite";
import { join } from "node:path";
import type { Agent } from "../../src/agent/agent.ts";
import type { Log } from "../../src/agent/agent-log.ts";
import { refuseEnded } from "../../src/agent/boot.ts";
import type { Clock } from "../../src/agent/clock.ts";
import { ensurePrivateDirectory } from "../../src/agent/durable-file.ts";
import { Journal } from "../../src/agent/journal.ts";
import { liveOn, Reins, type Host as Surrounding, type Surroundings } from "../../src/agent/life.ts";
import { takeLock } from "../../src/agent/lock.ts";
import * as state from "../../src/agent/state-files.ts";
import { EXIT } from "../../src/fault/exit.ts";
import { fault, isFault, reasonOf } from "../../src/fault/fault.ts";
import type { RawIdentity } from "../../src/host/fingerprint.ts";
import type { ExecutorTask } from "../../src/protocol/execution.ts";
import type { JobClaims } from "../../src/protocol/job.ts";
import { sha256Of } from "../../src/trust/strict-jws.ts";
import { brief } from "./control.ts";
import { isCrash } from "./crash.ts";
import type { Dice } from "./dice.ts";
import { late } from "./doubles/globals.ts";
import { type HostKind, judgeOf } from "./host-kind.ts";
import { HostTimers } from "./host-timers.ts";
import type { Machine, Process } from "./machine.ts";
import { type LifeRecord, recordJudgements } from "./made-here.ts";
import type { Wire } from "./network.ts";
import { START_MS } from "./start-time.ts";
import type { Tally, Trace } from "./tally.ts";
import { type Pace, type Run, ScriptedPool } from "./workers.ts";

export interface HostOptions {
  readonly machine: Machine;
  readonly dice: Dice;
  readonly trace: Trace;
  readonly tally: Tally;
  readonly kind: HostKind;
  readonly violate: (what: string) => void;
  readonly onStart: (host: Host, task: ExecutorTask, run: Run) => void;
  readonly onEnd: (host: Host, run: Run) => void;
  readonly pace: () => Pace;
  /** Sees what its log says. */
  readonly onEvent: (host: Host, event: string, fields: Readonly<Record<string, unknown>>) => void;
}

/** One life of the agent on this host. */
export interface Life extends LifeRecord {
  readonly process: Process;
  readonly reins: VisibleReins;
  readonly journal: Journal;
  /** One for each set of keys it had. */
  readonly pools: ScriptedPool[];
  /** Its exit status, once it has ended by itself. */
  exit: number | null;
}

/** Shows which agent lives in the process. */
class VisibleReins extends Reins {
  agentNow: Agent | null = null;

  override hold(agent: Agent | null): void {
    this.agentNow = agent;
    super.hold(agent);
  }
}

/** What a machine of that name is made of. */
export const identityOf = (name: string): RawIdentity => ({
  machine_id: `machine ${name}`,
  product_uuid: `product ${name}`,
  board_serial: `board ${name}`,
});

export const addressOf = (name: string): string => `10.0.0.${name.length + (name.codePointAt(5) ?? 0)}`;

export class Host {
  readonly machine: Machine;
  readonly options: HostOptions;
  readonly timers: HostTimers;
  wire: Wire | null = null;
  life: Life | null = null;
  /** How far its wall clock is from the world's time. */
  wallOffsetMs = 0;
  bootedAtMs = 0;
  /** How much faster its boot clock runs than the world's time. */
  drift = 0;
  boots = 1;
  /** Longest sleep so far. */
  sleptMs = 0;
  wanted = true;
  /** A copy of another host's state lives here. */
  copy = false;
  /** It was told to drain or stop, as far as anybody knows. */
  held = false;
  /** It was quarantined by order, now or before. */
  suspected = false;
  /** It was told to end, as far as anybody knows. */
  terminated = false;
  /** What the machine says about itself. */
  identity: RawIdentity;
  private reader: Database | null = null;

  constructor(options: HostOptions) {
    this.options = options;
    this.machine = options.machine;
    this.timers = new HostTimers(this.machine.timeline);
    this.identity = identityOf(this.machine.name);
    this.bootedAtMs = -options.dice.between(60_000, 900_000);
    this.drift = (options.dice.between(0, 200) - 100) / 1_000_000;
    this.machine.onCrash = (where) => {
      this.say(`crashed ${where}`);
      this.endRuns();
    };
  }

  get name(): string {
    return this.machine.name;
  }

  readonly clock: Clock = {
    wallMs: () => START_MS + this.machine.timeline.nowMs + this.wallOffsetMs,
    bootMs: () => Math.floor((this.machine.timeline.nowMs - this.bootedAtMs) * (1 + this.drift)),
  };

  /** Starts the agent on what is on disk. False when it ended on the way. */
  async boot(): Promise<boolean> {
    this.machine.bury();
    this.timers.clear();
    const process = this.machine.begin();
    this.life = null;
    try {
      await this.begin(process);
      this.say("runs");
      return true;
    } catch (error) {
      if (!isCrash(error) && !process.dead) {
        this.say(`did not start: ${reasonOf(error)}`);
        process.dead = true;
        if (isFault(error, "STATE_TERMINAL")) this.wanted = false;
        else if (!isFault(error) || !this.machine.wasFull) {
          this.options.violate(`${this.name} does not start: ${reasonOf(error)}`);
        }
      }
      return false;
    }
  }

  /** As if the power went, or somebody sent SIGKILL. */
  kill(where = "by SIGKILL"): void {
    this.machine.kill(where);
  }

  /** Nothing of it runs, nothing is open. */
  end(): void {
    this.machine.bury();
    this.timers.clear();
    this.reader?.close();
    this.reader = null;
  }

  get alive(): boolean {
    return this.life !== null && !this.life.process.dead && this.life.exit === null;
  }

  get agent(): Agent | null {
    return this.alive ? (this.life?.reins.agentNow ?? null) : null;
  }

  /** Runs of the life now. */
  runs(): Run[] {
    return (this.life?.pools ?? []).flatMap((pool) => pool.runs);
  }

  get logDir(): string {
    return join(this.machine.dir, "work", "logs");
  }

  /** What its journal holds for certain, read past the process. */
  rows<Row>(sql: string, ...values: (string | number)[]): Row[] {
    this.reader ??= new Database(join(this.machine.dir, "journal.db"), { readwrite: true });
    return this.reader.query<Row, (string | number)[]>(sql).all(...values);
  }

  say(what: string): void {
    this.options.trace.line(this.machine.timeline.nowMs, this.name, what);
  }

  /** Workers are children of the agent and end with it. */
  private endRuns(): void {
    for (const run of this.runs()) {
      if (!run.live) continue;
      run.live = false;
      this.options.onEnd(this, run);
    }
  }

  private async begin(process: Process): Promise<Life> {
    const { dir } = this.machine;
    const paths = state.statePaths(dir);
    ensurePrivateDirectory(paths.work);
    takeLock(paths.lock, dir);
    await refuseEnded(dir);
    const journal = Journal.open(paths.journal);
    const pools: ScriptedPool[] = [];
    const { decide, record } = recordJudgements((claims: JobClaims) => judgeOf(this.options.kind, claims));
    const reins = new VisibleReins();
    const life: Life = { ...record, process, reins, journal, pools, exit: null };
    const surroundings = this.surroundings(process, { journal, reins, decide, pools });
    this.life = life;
    liveOn(surroundings).then(
      (status) => this.onExit(life, status),
      (error: unknown) => this.onBroken(life, error),
    );
    return life;
  }

  private onExit(life: Life, status: number): void {
    life.exit = status;
    this.say(`exits ${status}`);
    this.options.tally.note(`agent exits ${status}`);
    life.process.dead = true;
    if (status === EXIT.TERMINAL) this.wanted = false;
  }

  private onBroken(life: Life, error: unknown): void {
    if (isCrash(error) || life.process.dead) return;
    if (isFault(error, "STATE_TERMINAL")) {
      this.onExit(life, EXIT.TERMINAL);
      return;
    }
    this.say(`ends with ${reasonOf(error)}`);
    // A full disk may keep an agent from starting; whoever starts it tries again.
    if (!isFault(error) || !this.machine.wasFull) {
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.options.violate(`${this.name}: the agent broke: ${what}`);
    }
    this.kill("of itself");
  }

  private surroundings(
    process: Process,
    parts: Pick<Surroundings, "journal" | "reins"> & { decide: Surrounding["decide"]; pools: ScriptedPool[] },
  ): Surroundings {
    const { journal, reins, decide, pools } = parts;
    const { dir } = this.machine;
    const { wire } = this;
    if (wire === null) throw new Error("a host without a wire");
    const policy = { sha256: sha256Of(this.options.kind.policyText), owner: "self" as const };
    ensurePrivateDirectory(this.logDir);
    ensurePrivateDirectory(join(this.logDir, "jobs"));
    return {
      stateDir: dir,
      logDir: this.logDir,
      version: "0.1.0",
      bootId: `boot-${this.boots}`,
      journal,
      reins,
      log: this.logOf(process),
      clock: this.clock,
      timers: { after: (ms, fn) => this.timers.after(late(ms), () => process.dead || fn()) },
      random: (count) => this.options.dice.bytes(count),
      transport: wire.transport(() => process.dead),
      openStream: async ({ url }) => {
        throw fault("WIRE_UNREACHABLE", { url, why: "there are no streams here" });
      },
      identityFacts: () => ({ raw: this.identity, unknown: [], problem: null }),
      makePool: (threads) => {
        const pool = this.poolOf(process, threads);
        pools.push(pool);
        return pool;
      },
      lookAround: async () => ({
        hostname: this.name,
        policy,
        tools: { bwrapPath: "/usr/bin/bwrap", gitPath: null },
        decide,
        told: {},
        facts: () => ({
          version: "0.1.0",
          bundle: "development",
          policy,
          host: {
            hostname: this.name,
            load1: 0.5,
            memory_bytes: { total: 2, available: 1 },
            disk_bytes: { total: 2, available: 1 },
            sandbox: { ok: this.options.kind.able, codes: [] },
            // Kinds are told in any case: what a host cannot do it must refuse, whatever it was believed to do.
            kinds: ["test.run"],
          },
        }),
      }),
    };
  }

  private poolOf(process: Process, threads: number): ScriptedPool {
    return new ScriptedPool(threads, {
      isDead: () => process.dead,
      dice: this.options.dice,
      after: (ms, fn) => this.timers.after(ms, () => process.dead || fn()),
      wallMs: this.clock.wallMs,
      pace: this.options.pace,
      onStart: (task, run) => {
        this.say(`run of ${task.jti}/${task.attempt} begins (${run.behaviour})`);
        this.options.tally.note(`worker ${run.behaviour}`);
        this.options.onStart(this, task, run);
      },
      onEnd: (run, how) => {
        this.say(`run of ${run.jti}/${run.attempt} ends: ${how.slice(0, 60)}`);
        this.options.onEnd(this, run);
      },
    });
  }

  private logOf(process: Process): Log {
    return (level, event, fields = {}) => {
      if (process.dead || level === "debug") return;
      this.say(`${event} ${brief(fields)}`);
      this.options.tally.note(`agent: ${event}`);
      this.options.onEvent(this, event, fields);
    };
  }
}
