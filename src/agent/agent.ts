import { EXIT, type ExitStatus } from "../fault/exit.ts";
import { type Fault, isFault } from "../fault/fault.ts";
import type { JobClaims } from "../protocol/job.ts";
import { LIMITS } from "../protocol/limits.ts";
import type { Grant } from "../protocol/receipt.ts";
import type { AgentState, BeatReply, Slot } from "../protocol/wire.ts";
import { type License, licenseStanding } from "../trust/license.ts";
import { newNonce } from "../trust/proof.ts";
import type { TrustSet } from "../trust/trust-set.ts";
import { abandonJobs } from "./abandon.ts";
import type { Log } from "./agent-log.ts";
import { nextAgentState, STATE_RIGHTS } from "./agent-state.ts";
import { boundedInterval, type PendingBeat, pendingBeat, sendBeat } from "./beat.ts";
import type { Clock, Random, Timers } from "./clock.ts";
import { type BeatFacts, composeBeat } from "./compose.ts";
import { applyReply } from "./exchange.ts";
import type { Judgement } from "./intake.ts";
import { IN_FLIGHT } from "./job-table.ts";
import type { Journal } from "./journal.ts";
import { LeaseBook } from "./leases.ts";
import type { LogShipper } from "./log-shipper.ts";
import { Pacer } from "./pacer.ts";
import type { WorkerPool } from "./pool.ts";
import type { ReceiptWriter } from "./receipts.ts";
import { fetchNewerTrust } from "./renew-trust.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import type { AgentFile } from "./state-files.ts";

export interface AgentDeps {
  readonly file: AgentFile;
  readonly jkt: string;
  readonly journal: Journal;
  readonly session: Session;
  readonly receipts: ReceiptWriter;
  readonly runner: Runner;
  readonly shipper: LogShipper;
  readonly pool: WorkerPool;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Log;
  readonly bootId: string;
  readonly facts: () => BeatFacts;
  readonly decide: (
    claims: JobClaims,
  ) => { readonly ok: true; readonly grant: Grant } | { readonly ok: false; readonly why: Fault };
  /** License and trust of a reply reach their files after the journal has them. */
  readonly persist: (license: License, trust: TrustSet) => void;
}

/** How long a stopping agent tries to deliver its last receipts and logs. */
const LAST_WORDS_MS = 10_000;
/** How long after their grace cancelled runs may take to be written down before the agent ends without them. */
const SETTLE_MS = 10_000;
const COMPACT_EVERY_BEATS = 60;

/**
 * The loop: facts → state → beat → reply → effects. One beat is in flight at a time; nothing of a reply is acted on
 * before the journal has it; a beat that fails is sent again with the same bytes.
 */
export class Agent {
  private readonly deps: AgentDeps;
  private readonly inst: string;
  private readonly startedAt: number;
  private readonly pacer: Pacer;
  private readonly leases: LeaseBook;
  /** Aborted when the last words are over: ends whatever request is still under way. */
  private readonly over = new AbortController();
  private readonly forgets: (() => void)[] = [];
  private trust: TrustSet;
  private license: License;
  private slot: Slot;
  private intervalS: number;
  private pending: PendingBeat | null = null;
  private lastAcceptedBootMs: number;
  private offsetMs: number | null = null;
  private draining = false;
  private lastWordsUntil: number | null = null;
  private beats = 0;
  private lastState: AgentState | null = null;

  constructor(deps: AgentDeps, trust: TrustSet, license: License) {
    this.deps = deps;
    this.trust = trust;
    this.license = license;
    const { clock, journal, timers, random } = deps;
    this.inst = newNonce(random);
    this.startedAt = clock.wallMs();
    this.lastAcceptedBootMs = clock.bootMs();
    this.pacer = new Pacer(clock, timers, random);
    this.intervalS = Number(journal.readMeta("interval_s") ?? LIMITS.BEAT_INTERVAL_S);
    this.slot = journal.slot() ?? { held: true, max_agents: 1 };
    this.leases = new LeaseBook(clock, timers, (jti, attempt) => this.onLeaseEnd(jti, attempt));
  }

  /** Settles what an earlier life left open, then beats until drained. Resolves with the exit status. */
  async run(): Promise<ExitStatus> {
    try {
      await abandonJobs(this.deps, IN_FLIGHT, "restart");
      this.deps.shipper.wake();
      while (!this.finished()) {
        if (await this.pacer.due(this.intervalS, this.lastWordsUntil)) await this.beat();
      }
      await this.lastWords();
      return EXIT.OK;
    } finally {
      this.leases.clear();
      this.deps.receipts.close();
      for (const forget of this.forgets) forget();
    }
  }

  /** Something a beat should tell soon, or the wish of an operator or the server that it beat now. */
  news(): void {
    this.pacer.news();
    this.deps.shipper.wake(); // the end of a job is such news, and the end of its log
  }

  /** First call: nothing new starts, running jobs get `graceMs` to end. Second call: they are cancelled now. */
  drain(graceMs: number): void {
    const { runner, timers, log } = this.deps;
    if (this.draining) {
      log("warn", "agent.cancelling", { running: runner.running });
      this.cancelRuns(2_000);
      return;
    }
    this.draining = true;
    log("info", "agent.draining", { running: runner.running, grace_s: Math.round(graceMs / 1000) });
    this.forgets.push(timers.after(graceMs, () => this.cancelRuns(5_000)));
    void Promise.all([this.abandonWaiting(), runner.idle()]).then(() => this.beginLastWords());
  }

  state(): AgentState {
    const { clock, journal } = this.deps;
    return nextAgentState({
      activated: true,
      license: licenseStanding(this.license.claims, this.nowS()),
      draining: this.draining,
      silentMs: clock.bootMs() - this.lastAcceptedBootMs,
      intervalMs: boundedInterval(this.intervalS) * 1000,
      slotHeld: this.slot.held,
      inFlight: journal.jobsIn(IN_FLIGHT).length,
      capacity: this.capacity(),
    });
  }

  private nowS(): number {
    return Math.floor(this.deps.clock.wallMs() / 1000);
  }

  private capacity(): number {
    return this.license.claims.max_concurrent_tasks_per_agent;
  }

  private async beat(): Promise<void> {
    const { clock, session, file, log } = this.deps;
    this.pacer.sending();
    try {
      this.pending ??= this.nextBeat();
      const sentBootMs = clock.bootMs();
      const reply = await sendBeat(this.pending, {
        session,
        trust: this.trust,
        agentId: file.agent_id,
        url: file.url,
        nowS: () => this.nowS(),
        signal: this.over.signal,
      });
      await this.take(this.pending, reply, sentBootMs);
    } catch (error) {
      if (!isFault(error)) throw error;
      const waitMs = error.code === "WIRE_RATE_LIMITED" ? Number(error.params["seconds"]) * 1000 : 0;
      const failures = this.pacer.failed(waitMs);
      log("warn", "beat.failed", { code: error.code, why: error.message, failures });
      this.noteFailure(error);
      if (isFault(error.cause, "JWS_UNKNOWN_KEY")) await this.askForTrust();
    }
    this.tellState();
  }

  /** The request id is on disk before the request leaves, so that an earlier life's beat is known as one. */
  private nextBeat(): PendingBeat {
    const { journal, clock, facts, random, bootId } = this.deps;
    const rid = newNonce(random);
    journal.writeMeta("pending_rid", rid);
    const frame = {
      chain: journal.chain() ?? this.deps.file.chain,
      inst: this.inst,
      boot: bootId,
      rid,
      state: this.state(),
      startedAt: this.startedAt,
      epoch: this.license.claims.epoch,
      capacity: this.capacity(),
      nowMs: clock.wallMs(),
      offsetMs: this.offsetMs,
    };
    const made = pendingBeat(composeBeat(frame, facts(), journal), clock.bootMs());
    this.pacer.made();
    return made;
  }

  private async take(pending: PendingBeat, reply: BeatReply, sentBootMs: number): Promise<void> {
    const { clock, journal, receipts, log, decide, jkt } = this.deps;
    const latencyMs = clock.bootMs() - sentBootMs;
    const nowMs = clock.wallMs();
    const applied = await applyReply(pending.request, reply, {
      journal,
      receipts,
      trust: this.trust,
      license: this.license,
      log,
      jkt,
      nowMs,
      leasesFromBootMs: pending.madeBootMs,
      latencyMs,
      free: this.capacity() - journal.jobsIn(IN_FLIGHT).length,
      accepting: STATE_RIGHTS[this.state()].accept,
      decide,
    });
    // The reply to a later try may be the one made for the first: its time says nothing, and what is new comes with the next.
    if (this.pacer.failing) this.pacer.news();
    else this.offsetMs = Math.round(reply.time - nowMs + latencyMs / 2);
    this.pending = null;
    this.pacer.succeeded();
    this.lastAcceptedBootMs = clock.bootMs();
    this.intervalS = reply.interval_s;
    this.slot = reply.slot;
    this.adopt(applied.trust, applied.license);
    for (const lease of applied.leases) this.leases.note(lease);
    const tell = applied.judgements.filter((judgement) => tellJudgement(log, judgement));
    const sent = new Set(pending.request.receipts);
    const untold = journal.openReceipts().some(({ jws }) => !sent.has(jws));
    if (tell.length > 0 || untold) this.pacer.news();
    log("debug", "beat.accepted", {
      n: reply.n,
      latency_ms: latencyMs,
      offers: reply.jobs.length,
      acks: reply.acks.length,
    });
    this.startLeased();
    // The drain may have begun while this reply was under way; what it brought waits for nothing any more.
    if (this.draining) await this.abandonWaiting();
    this.beats += 1;
    if (this.beats % COMPACT_EVERY_BEATS === 0) journal.compact();
  }

  /** Takes trust and license into use. The journal has them already, and goes before the files at the next start. */
  private adopt(trust: TrustSet, license: License): void {
    if (trust === this.trust && license === this.license) return;
    const { pool, persist, log } = this.deps;
    this.trust = trust;
    this.license = license;
    pool.resize(this.capacity());
    try {
      persist(license, trust);
    } catch (error) {
      if (!isFault(error)) throw error;
      log("warn", "identity.unwritten", { code: error.code, why: error.message });
    }
  }

  private async askForTrust(): Promise<void> {
    const { session, journal, log } = this.deps;
    try {
      const ctx = { session, nowS: this.nowS(), signal: this.over.signal };
      const newer = await fetchNewerTrust(this.trust, ctx);
      if (newer === null) return;
      journal.writeMeta("trust", JSON.stringify(newer.document));
      this.adopt(newer, this.license);
      log("info", "trust.renewed", { seq: newer.claims.seq });
    } catch (error) {
      if (!isFault(error)) throw error;
      log("warn", "trust.unrenewed", { code: error.code, why: error.message }); // asked for again after the next try
    }
  }

  /** Starts what holds a lease. One that ran out on its way here is asked for again by the next beat. */
  private startLeased(): void {
    const { journal, runner, shipper, log } = this.deps;
    if (!STATE_RIGHTS[this.state()].start) return;
    for (const row of journal.jobsIn(["leased"])) {
      if (!this.leases.holds(row.jti, row.attempt)) continue;
      try {
        runner.start(row);
      } catch (error) {
        if (!isFault(error)) throw error;
        log("error", "job.unstarted", { job: row.jti, code: error.code, why: error.message });
      }
    }
    if (runner.running > 0) shipper.wake();
  }

  private onLeaseEnd(jti: string, attempt: number): void {
    const { journal, runner, log } = this.deps;
    try {
      const row = journal.job(jti, attempt);
      if (!row || !IN_FLIGHT.includes(row.state)) return;
      log("warn", "lease.ended", { job: jti, attempt, on_lost: row.claims.on_lost });
      if (row.claims.on_lost === "requeue") runner.stop(jti, attempt, "lease_expired", 0);
    } catch (error) {
      if (!isFault(error)) throw error;
      log("error", "lease.unread", { job: jti, code: error.code, why: error.message });
      runner.stop(jti, attempt, "lease_expired", 0); // without its row nobody knows that it may run on
    }
  }

  private cancelRuns(graceMs: number): void {
    const { runner, timers } = this.deps;
    runner.stopAll("host_stopping", graceMs);
    this.forgets.push(timers.after(graceMs + SETTLE_MS, () => this.beginLastWords()));
  }

  private async abandonWaiting(): Promise<void> {
    try {
      if ((await abandonJobs(this.deps, ["accepted", "leased"], "stopping")) > 0) this.news();
    } catch (error) {
      if (!isFault(error)) throw error;
      // They stay as they are and end as interrupted when the agent starts again.
      this.deps.log("error", "job.unsettled", { code: error.code, why: error.message });
    }
  }

  private beginLastWords(): void {
    if (this.lastWordsUntil !== null) return;
    const { clock, timers } = this.deps;
    this.lastWordsUntil = clock.bootMs() + LAST_WORDS_MS;
    this.forgets.push(timers.after(LAST_WORDS_MS, () => this.over.abort()));
    this.news();
  }

  private finished(): boolean {
    if (this.lastWordsUntil === null) return false;
    if (this.deps.clock.bootMs() >= this.lastWordsUntil) return true;
    const said = !this.pacer.wantsNews || this.pacer.failing;
    return said && this.deps.journal.openReceipts().length === 0;
  }

  private async lastWords(): Promise<void> {
    const { shipper, pool, log, journal } = this.deps;
    await shipper.end(this.over.signal);
    await pool.close();
    log("info", "agent.stopped", { undelivered: journal.openReceipts().length });
  }

  private noteFailure(why: Fault): void {
    const { clock, journal, log } = this.deps;
    try {
      const note = { at: clock.wallMs(), code: why.code, why: why.message };
      journal.writeMeta("last_failure", JSON.stringify(note));
    } catch (error) {
      if (!isFault(error)) throw error; // only `status` reads it
      log("warn", "journal.unwritable", { code: error.code, why: error.message });
    }
  }

  private tellState(): void {
    const state = this.state();
    if (state === this.lastState) return;
    this.deps.log("info", "agent.state", { state, before: this.lastState });
    this.lastState = state;
  }
}

/** Writes what became of an offer into the log. Returns whether the Control Plane should hear of it soon. */
function tellJudgement(log: Log, judgement: Judgement): boolean {
  switch (judgement.verdict) {
    case "reject": {
      const { code, message: why } = judgement.why;
      log("warn", "job.rejected", { envelope: judgement.sha256, code, why });
      return true;
    }
    case "refuse": {
      const { code, message: why } = judgement.why;
      log("warn", "job.refused", { job: judgement.claims.jti, code, why });
      return true;
    }
    case "return":
      log("info", "job.returned", { job: judgement.claims.jti });
      return true;
    case "accept":
      log("info", "job.accepted", { job: judgement.claims.jti, attempt: judgement.claims.attempt });
      return true;
    case "known":
      return false;
  }
}
