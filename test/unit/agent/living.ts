// An agent from its state directory on: real files under a real seal, real journal, boot and lives in one process, under
// virtual time, with a scripted Control Plane and workers that do what the test says.

import type { Database } from "bun:sqlite";
import { appendFileSync, existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Log } from "../../../src/agent/agent-log.ts";
import { refuseEnded } from "../../../src/agent/boot.ts";
import { ensurePrivateDirectory, writeDurably } from "../../../src/agent/durable-file.ts";
import { Journal } from "../../../src/agent/journal.ts";
import { liveOn, Reins } from "../../../src/agent/life.ts";
import { STATE_FORMAT, statePaths } from "../../../src/agent/state-files.ts";
import { StateSeal } from "../../../src/agent/state-seal.ts";
import { readStatus, type StatusView } from "../../../src/agent/status.ts";
import type { Transport } from "../../../src/agent/transport.ts";
import { isFault } from "../../../src/fault/fault.ts";
import { makeFingerprint, type RawIdentity } from "../../../src/host/fingerprint.ts";
import type { IdentityFacts } from "../../../src/host/identity-facts.ts";
import { type AgentId, newAgentId } from "../../../src/protocol/ids.ts";
import type { JobClaims } from "../../../src/protocol/job.ts";
import { makeSealingKey, makeSigningKey, thumbprint } from "../../../src/trust/keys.ts";
import { random } from "../../support/authority.ts";
import { scratchDirectory } from "../../support/scratch.ts";
import { ScriptedControl } from "../../support/scripted-control.ts";
import { streamsFrom, wireTo } from "../../support/scripted-wire.ts";
import { VirtualTime } from "../../support/virtual-time.ts";
import { copyTree } from "../../support/watched-files.ts";
import { ObedientPool } from "./obedient-pool.ts";
import { FINGERPRINT_SHA, grantAll, type LoggedEvent } from "./world.ts";

/** A machine that is told apart from others by what it says of itself. */
export const MACHINE: RawIdentity = {
  product_uuid: "4c4c4544-0042-3510-8051-b4c04f4d5a32",
  machine_id: "9f3c1d2e4b5a69788796a5b4c3d2e1f0",
  board_serial: "/7C9XH12/CN129633B20042/",
  root_disk: "S4EVNX0M812345",
  macs: ["f0:1f:af:12:34:56"],
};

/** One process of the agent. */
export class Process {
  readonly journal: Journal;
  readonly reins = new Reins();
  readonly events: LoggedEvent[] = [];
  readonly pools: ObedientPool[] = [];
  exit: number | null = null;
  failure: unknown = null;
  dead = false;

  constructor(journal: Journal) {
    this.journal = journal;
  }

  /** Events of one name, oldest first. */
  heard(event: string): readonly LoggedEvent["fields"][] {
    return this.events.filter((entry) => entry.event === event).map(({ fields }) => fields);
  }

  /** The state told last. */
  get state(): unknown {
    return this.heard("agent.state").at(-1)?.["state"];
  }

  get inst(): string {
    return String(this.heard("agent.started").at(-1)?.["inst"]);
  }

  get tasks() {
    return this.pools.flatMap(({ tasks }) => tasks);
  }

  get code(): string | null {
    return isFault(this.failure) ? this.failure.code : null;
  }

  /** Nothing of it acts any more; what it wrote stays. */
  kill(): void {
    if (this.dead) return;
    this.dead = true;
    (this.journal as unknown as { db: Database }).db.run("PRAGMA query_only = 1");
  }
}

export class Living implements AsyncDisposable {
  readonly time: VirtualTime;
  readonly control: ScriptedControl;
  readonly dir: string;
  readonly id: AgentId;
  readonly processes: Process[] = [];
  /** What the machine says of itself now. */
  facts: IdentityFacts = { raw: MACHINE, unknown: [], problem: null };
  private readonly owner: boolean;

  private constructor(made: Pick<Living, "time" | "control" | "dir" | "id">, owner: boolean) {
    this.time = made.time;
    this.control = made.control;
    this.dir = made.dir;
    this.id = made.id;
    this.owner = owner;
  }

  static async make(): Promise<Living> {
    const time = new VirtualTime();
    const control = await ScriptedControl.make(time);
    const dir = scratchDirectory("living");
    const living = new Living({ time, control, dir, id: newAgentId(random) }, true);
    await living.activate();
    return living;
  }

  /** The same state in another directory, as a backup or a thief has it, with the same Control Plane or a fork of it. */
  copy(control = this.control): Living {
    const dir = scratchDirectory("copied");
    rmSync(dir, { recursive: true });
    copyTree(this.dir, dir);
    return new Living({ time: this.time, control, dir, id: this.id }, false);
  }

  at(name: string): string {
    return join(this.dir, name);
  }

  /** Appends one byte: the shortest change there is. */
  spoil(name: string): void {
    appendFileSync(this.at(name), "\n");
  }

  text(name: string): string | null {
    return existsSync(this.at(name)) ? readFileSync(this.at(name), "latin1") : null;
  }

  get now(): Process {
    const process = this.processes.at(-1);
    if (process === undefined) throw new Error("it was never started");
    return process;
  }

  /** Begins a process and lets it come to rest. */
  async start(): Promise<Process> {
    const { dir, time, control } = this;
    const process = new Process(Journal.open(statePaths(dir).journal));
    this.processes.push(process);
    const log: Log = (level, event, fields = {}) => void process.events.push({ level, event, fields });
    const { journal, reins } = process;
    const life = async () => {
      await refuseEnded(dir);
      return await liveOn({
        stateDir: dir,
        logDir: join(dir, "work", "logs"),
        version: "1.2.3",
        bootId: "boot-1",
        ...{ journal, log, reins, clock: time },
        timers: { after: (ms, fn) => time.after(ms, () => process.dead || fn()) },
        random: (count) => (count === 2 ? new Uint8Array(2).fill(128) : random(count)),
        transport: this.unlessDead(process, wireTo(control)),
        openStream: streamsFrom(control),
        identityFacts: () => this.facts,
        makePool: () => {
          const pool = new ObedientPool();
          process.pools.push(pool);
          return pool;
        },
        lookAround: async () => HOST,
      });
    };
    life().then(
      (exit) => {
        process.exit = exit;
      },
      (error: unknown) => {
        process.failure = error;
      },
    );
    await time.settle();
    return process;
  }

  /** The process is killed, and another begins on what it left. */
  async restart(): Promise<Process> {
    await this.end();
    return await this.start();
  }

  /** The process is killed and what it had open is closed. */
  async end(): Promise<void> {
    await this.time.settle();
    const { now } = this;
    now.kill();
    await this.time.settle();
    now.journal.close();
  }

  /** Beats, and beats again for what the answer brought. */
  async beat(): Promise<void> {
    this.now.reins.news();
    await this.time.advance(6_000);
  }

  async startJob(over: Partial<JobClaims> = {}): Promise<JobClaims> {
    const { now } = this;
    const before = now.tasks.length;
    const claims = await this.control.offer(over);
    now.reins.news();
    await this.time.advanceUntil(() => now.journal.job(claims.jti, 1)?.state === "running", 70_000);
    await this.time.until(() => now.tasks.length === before + 1);
    return claims;
  }

  status(): Promise<StatusView> {
    return readStatus(
      { stateDir: this.dir, logDir: "", configDir: "", policyPath: "", policyNamed: false },
      "1.2.3",
      this.time.wallMs(),
      () => this.facts,
    );
  }

  /** What activation leaves. */
  private async activate(): Promise<void> {
    const { control, dir, id, time } = this;
    const paths = statePaths(dir);
    for (const path of [paths.keypair, paths.work, join(paths.work, "logs")]) ensurePrivateDirectory(path);
    ensurePrivateDirectory(join(paths.work, "logs", "jobs"));
    const identity = await makeSigningKey();
    writeDurably(paths.identityKey, identity.pem);
    writeDurably(paths.sealingKey, (await makeSealingKey()).pem);
    await control.enrol(id, identity.key.jwk);
    const { authority } = control;
    const fp = makeFingerprint(MACHINE, authority.trustClaims.fp_salt);
    control.nextLicense = { fp };
    const trust = await authority.trustDocument();
    const trustRoot = await thumbprint(trust.root);
    const json = (value: object) => `${JSON.stringify(value, null, 2)}\n`;
    await StateSeal.first(
      dir,
      { id, key: identity.key, trustRoot },
      {
        "trust.json": json(trust),
        "fingerprint.json": json(fp),
        "license.jwt": `${await authority.license({ fp })}\n`,
        "agent.json": json({
          format: STATE_FORMAT,
          agent_id: id,
          url: control.url,
          activated_at: time.wallMs(),
          labels: {},
          chain: { ...control.chain },
        }),
      },
    );
  }

  private unlessDead(process: Process, transport: Transport): Transport {
    const never = new Promise<never>(() => undefined);
    return async (request) => {
      if (process.dead) return await never;
      try {
        const reply = await transport(request);
        return process.dead ? await never : reply;
      } catch (error) {
        if (process.dead) return await never;
        throw error;
      }
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const process of this.processes) {
      if (process.dead) continue;
      process.kill();
      await this.time.settle();
      process.journal.close();
    }
    if (this.owner) this.time[Symbol.dispose]();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

const HOST = {
  hostname: "host",
  policy: { sha256: FINGERPRINT_SHA, owner: "self" as const },
  tools: { bwrapPath: "/usr/bin/bwrap", gitPath: null },
  decide: grantAll,
  told: {},
  facts: () => ({
    version: "1.2.3",
    bundle: "development" as const,
    policy: { sha256: FINGERPRINT_SHA, owner: "self" as const },
    host: {
      hostname: "host",
      load1: 0.1,
      memory_bytes: { total: 2, available: 1 },
      disk_bytes: { total: 2, available: 1 },
      sandbox: { ok: true, codes: [] },
      kinds: ["test.run"],
    },
  }),
};
