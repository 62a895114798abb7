// One agent in a world of its own: real journal, keys, signatures, files and loop; virtual time, a scripted Control Plane,
// and a pool whose workers do what the test says.

import type { Database } from "bun:sqlite";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { Agent, type AgentEnd } from "../../../src/agent/agent.ts";
import type { Log } from "../../../src/agent/agent-log.ts";
import { blobFetcher } from "../../../src/agent/blobs.ts";
import type { Timers } from "../../../src/agent/clock.ts";
import type { BeatFacts } from "../../../src/agent/compose.ts";
import { ensurePrivateDirectory } from "../../../src/agent/durable-file.ts";
import type { JobRow } from "../../../src/agent/job-row.ts";
import { Journal } from "../../../src/agent/journal.ts";
import { LogShipper } from "../../../src/agent/log-shipper.ts";
import { ReceiptWriter } from "../../../src/agent/receipts.ts";
import { Runner, type RunnerDeps } from "../../../src/agent/runner.ts";
import type { SealedState } from "../../../src/agent/sealed-state.ts";
import { openSession, type Session } from "../../../src/agent/session.ts";
import { type AgentFile, type BearerFile, STATE_FORMAT } from "../../../src/agent/state-files.ts";
import type { Transport } from "../../../src/agent/transport.ts";
import type { Fault } from "../../../src/fault/fault.ts";
import { newAgentId } from "../../../src/protocol/ids.ts";
import type { JobClaims } from "../../../src/protocol/job.ts";
import type { Grant } from "../../../src/protocol/receipt.ts";
import type { LicenseClaims } from "../../../src/protocol/trust.ts";
import type { SigningKey } from "../../../src/trust/keys.ts";
import { type License, openLicense } from "../../../src/trust/license.ts";
import type { TrustSet } from "../../../src/trust/trust-set.ts";
import { anySigningKey, FINGERPRINT, random } from "../../support/authority.ts";
import { scratchDirectory } from "../../support/scratch.ts";
import { ScriptedControl } from "../../support/scripted-control.ts";
import { streamsFrom, wireTo } from "../../support/scripted-wire.ts";
import { VirtualTime } from "../../support/virtual-time.ts";
import { ObedientPool } from "./obedient-pool.ts";

export interface LoggedEvent {
  readonly level: string;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface WorldOptions {
  readonly license?: Partial<LicenseClaims>;
  /** Random bytes all of this value: 128 puts jitter in the middle. */
  readonly jitter?: number;
  /** Goes on in this directory, with this key and agent. */
  readonly like?: World;
  /** With `like`: other than its directory and Control Plane. */
  readonly dir?: string;
  readonly control?: ScriptedControl;
}

export class World implements AsyncDisposable {
  readonly time: VirtualTime;
  readonly control: ScriptedControl;
  readonly dir: string;
  readonly file: AgentFile;
  readonly identity: SigningKey;
  readonly journal: Journal;
  readonly session: Session;
  readonly pool = new ObedientPool();
  readonly receipts: ReceiptWriter;
  readonly runner: Runner;
  readonly shipper: LogShipper;
  readonly agent: Agent;
  readonly events: LoggedEvent[] = [];
  readonly persisted: { license: License; trust: TrustSet }[] = [];
  persist: (license: License, trust: TrustSet) => void = () => undefined;
  /** State files that are always whole, and follow as the test says. */
  readonly state: SealedState = {
    head: null,
    findings: [],
    check: async () => undefined,
    follow: async (license, trust) => {
      if (this.known.license === license && this.known.trust === trust) return;
      this.known = { license, trust };
      this.persist(license, trust);
      this.persisted.push({ license, trust });
    },
    reseal: async () => undefined,
    resealProblem: () => null,
  };
  bearer: BearerFile | null = null;
  /** What the operator's policy and the host say to a job. */
  decide: (claims: JobClaims) => { ok: true; grant: Grant } | { ok: false; why: Fault } = grantAll;
  /** How a starting job's secrets are opened. */
  openSecrets: RunnerDeps["openSecrets"] = async () => ({});
  /** The exit status, once the loop has ended. */
  ended: Promise<AgentEnd> | null = null;
  exit: AgentEnd | null = null;
  failure: unknown = null;
  private known: { trust: TrustSet; license: License };
  private closed = false;
  private readonly owner: boolean;

  private constructor(
    made: { time: VirtualTime; control: ScriptedControl; dir: string; file: AgentFile; identity: SigningKey },
    known: { trust: TrustSet; license: License },
    options: WorldOptions,
  ) {
    this.time = made.time;
    this.control = made.control;
    this.dir = made.dir;
    this.file = made.file;
    this.identity = made.identity;
    this.owner = options.like === undefined;
    this.known = known;
    this.journal = Journal.open(join(made.dir, "journal.db"));
    const { time, control, journal, identity, file, pool } = this;
    const timers: Timers = { after: (ms, fn) => time.after(ms, () => this.closed || fn()) };
    const log: Log = (level, event, fields = {}) => void this.events.push({ level, event, fields });
    const jitter = options.jitter ?? 128;
    const bytes = (count: number) => (count === 2 ? new Uint8Array(2).fill(jitter) : random(count));
    this.session = openSession({
      url: file.url,
      agentId: file.agent_id,
      identity,
      transport: this.unlessDead(wireTo(control)),
      clock: time,
      random: bytes,
      loadBearer: () => this.bearer,
      saveBearer: (bearer) => {
        this.bearer = bearer;
      },
    });
    const policy = { sha256: FINGERPRINT_SHA, owner: "self" as const };
    const frame = { agentId: file.agent_id, hostname: "host", version: "1.2.3", policy };
    this.receipts = new ReceiptWriter(
      journal,
      identity,
      () => frame,
      () => time.wallMs(),
    );
    ensurePrivateDirectory(join(made.dir, "logs"));
    ensurePrivateDirectory(join(made.dir, "logs", "jobs"));
    const { session, receipts } = this;
    this.runner = new Runner({
      journal,
      receipts,
      pool,
      clock: time,
      timers,
      log,
      workDir: join(made.dir, "work"),
      logDir: join(made.dir, "logs"),
      tools: { bwrapPath: "/usr/bin/bwrap", gitPath: null },
      openSecrets: (claims) => this.openSecrets(claims),
      fetchBlob: blobFetcher(session, file.url, streamsFrom(control), timers),
      news: () => this.agent.news(),
    });
    const logPath = (jti: string, attempt: number) => this.runner.logPath(jti, attempt);
    this.shipper = new LogShipper({ journal, session, clock: time, timers, log, logPath });
    const { runner, shipper } = this;
    this.agent = new Agent(
      {
        file,
        jkt: identity.kid,
        journal,
        session,
        receipts,
        runner,
        shipper,
        pool,
        clock: time,
        timers,
        random: bytes,
        log,
        bootId: "boot-1",
        facts: () => FACTS,
        decide: (claims) => this.decide(claims),
        stateDir: made.dir,
        state: this.state,
        remnant: false,
      },
      known.trust,
      known.license,
    );
  }

  static async make(options: WorldOptions = {}): Promise<World> {
    const { like } = options;
    const time = like?.time ?? new VirtualTime();
    const control = options.control ?? like?.control ?? (await ScriptedControl.make(time));
    const dir = options.dir ?? like?.dir ?? scratchDirectory("loop");
    const identity = like?.identity ?? (await anySigningKey());
    const id = like?.file.agent_id ?? newAgentId(random);
    if (!like) await control.enrol(id, identity.jwk);
    ensurePrivateDirectory(join(dir, "work"));
    const chain = { n: control.chain.n, nonce: control.chain.nonce };
    const file: AgentFile = like?.file ?? {
      format: STATE_FORMAT,
      agent_id: id,
      url: control.url,
      activated_at: time.wallMs(),
      labels: {},
      chain,
    };
    const trust = await control.authority.trustSet();
    const text = await control.authority.license(options.license);
    const license = await openLicense(text, trust, { jkt: identity.kid, agentId: id });
    return new World({ time, control, dir, file, identity }, { trust, license }, options);
  }

  /** Starts the loop and lets it come to rest after its first beat. */
  async start(): Promise<this> {
    this.ended = this.agent.run();
    this.ended.then(
      (exit) => {
        this.exit = exit;
      },
      (error: unknown) => {
        this.failure = error;
      },
    );
    await this.time.settle();
    return this;
  }

  /** Offers a job and lets the agent accept it, get its lease and start it. */
  async startJob(over: Partial<JobClaims> = {}): Promise<JobClaims> {
    const tasks = this.pool.tasks.length;
    const claims = await this.control.offer(over);
    this.agent.news();
    await this.time.advanceUntil(() => this.row(claims)?.state === "running", 10_000);
    await this.time.until(() => this.pool.tasks.length === tasks + 1);
    return claims;
  }

  row(job: { readonly jti: string; readonly attempt: number }): JobRow | null {
    return this.journal.job(job.jti, job.attempt);
  }

  /** Its outcome is in the journal, delivered or not. */
  hasEnded(job: { readonly jti: string; readonly attempt: number }): boolean {
    return (this.row(job)?.outcome ?? null) !== null;
  }

  /** Events of one name, oldest first. */
  heard(event: string): readonly LoggedEvent["fields"][] {
    return this.events.filter((entry) => entry.event === event).map(({ fields }) => fields);
  }

  /** The process is gone: nothing of it acts any more, what it wrote stays. */
  kill(): void {
    if (this.closed) return;
    this.closed = true;
    // What is under way in memory may still end, but no longer write, send or wait.
    (this.journal as unknown as { db: Database }).db.run("PRAGMA query_only = 1");
  }

  private unlessDead(transport: Transport): Transport {
    const never = new Promise<never>(() => undefined);
    return async (request) => {
      if (this.closed) return await never;
      try {
        const reply = await transport(request);
        return this.closed ? await never : reply;
      } catch (error) {
        if (this.closed) return await never;
        throw error;
      }
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.time.settle();
    this.kill();
    // A start on its way to its worker still makes directories.
    const onItsWay = () => this.heard("job.started").length > this.pool.tasks.length;
    for (let i = 0; i < 20 && onItsWay(); i++) await Bun.sleep(1);
    await this.time.settle();
    this.journal.close();
    if (!this.owner) return;
    this.time[Symbol.dispose]();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export const FINGERPRINT_SHA = "a".repeat(64) as NonNullable<BeatFacts["policy"]>["sha256"];

export const grantAll = (claims: JobClaims): { ok: true; grant: Grant } => ({
  ok: true,
  grant: { scope: claims.scope, limits: claims.limits, limits_enforced: "weak" },
});

const FACTS: BeatFacts = {
  version: "1.2.3",
  bundle: "development",
  policy: { sha256: FINGERPRINT_SHA, owner: "self" },
  fingerprint: FINGERPRINT,
  fingerprint_unknown: [],
  host: {
    hostname: "host",
    load1: 0.1,
    memory_bytes: { total: 2, available: 1 },
    disk_bytes: { total: 2, available: 1 },
    sandbox: { ok: true, codes: [] },
    kinds: ["test.run"],
  },
};
