import { EXIT, type ExitStatus } from "../fault/exit.ts";
import { asFault, type Fault, isFault } from "../fault/fault.ts";
import type { JobClaims } from "../protocol/job.ts";
import { LIMITS } from "../protocol/limits.ts";
import type { Grant } from "../protocol/receipt.ts";
import type { AgentState, Slot } from "../protocol/wire.ts";
import { type License, licenseStanding } from "../trust/license.ts";
import { newNonce } from "../trust/proof.ts";
import type { TrustSet } from "../trust/trust-set.ts";
import type { Log } from "./agent-log.ts";
import { nextAgentState, STATE_RIGHTS } from "./agent-state.ts";
import { boundedInterval, type PendingBeat, pendingBeat, sendBeat } from "./beat.ts";
import type { Clock, Random, Timers } from "./clock.ts";
import { type BeatFacts, composeBeat } from "./compose.ts";
import { applyReply } from "./exchange.ts";
import { IN_FLIGHT } from "./job-table.ts";
import type { JobRow, Journal } from "./journal.ts";
import { LeaseBook } from "./leases.ts";
import type { LogShipper } from "./log-shipper.ts";
import { Pacer } from "./pacer.ts";
import type { WorkerPool } from "./pool.ts";
import { type ReceiptWriter, storeEnding } from "./receipts.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import type { AgentFile } from "./state-files.ts";
import { abandoned } from "./verdict.ts";

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

/** How long a stopping agent tries to deliver its last receipts. */
const LAST_WORDS_MS = 10_000;
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
    this.slot = JSON.parse(journal.readMeta("slot_held") ?? '{"held":true,"max_agents":1}') as Slot;
    this.leases = new LeaseBook(clock, timers, (jti, attempt) => this.onLeaseEnd(jti, attempt));
  }

  /** Settles what an earlier life left open, then beats until drained. Resolves with the exit status. */
  async run(): Promise<ExitStatus> {
    await this.settleEarlierLife();
    this.deps.shipper.wake();
    while (!this.finished()) {
      await this.pacer.untilDue(this.intervalS, () => this.lastWordsUntil);
      if (this.finished()) break;
      await this.beat();
    }
    await this.lastWords();
    this.leases.clear();
    return EXIT.OK;
  }

  /** Something a beat should tell soon, or the wish of an operator or the server that it beat now. */
  news(): void {
    this.pacer.news();
  }

  /** First call: nothing new starts, running jobs get `graceMs` to end. Second call: they are cancelled now. */
  drain(graceMs: number): void {
    const { runner, timers, log } = this.deps;
    if (this.draining) {
      log("warn", "agent.cancelling", { running: runner.running });
      runner.stopAll("host_stopping", 2_000);
      return;
    }
    this.draining = true;
    log("info", "agent.draining", { running: runner.running, grace_s: Math.round(graceMs / 1000) });
    void this.abandonWaiting("stopping");
    const forget = timers.after(graceMs, () => runner.stopAll("host_stopping", 5_000));
    void runner.idle().then(() => {
      forget();
      this.lastWordsUntil = this.deps.clock.bootMs() + LAST_WORDS_MS;
      this.news();
    });
  }

  state(): AgentState {
    const { clock, journal } = this.deps;
    return nextAgentState({
      activated: true,
      license: licenseStanding(this.license.claims, Math.floor(clock.wallMs() / 1000)),
      draining: this.draining,
      silentMs: clock.bootMs() - this.lastAcceptedBootMs,
      intervalMs: boundedInterval(this.intervalS) * 1000,
      slotHeld: this.slot.held,
      inFlight: journal.jobsIn(IN_FLIGHT).length,
      capacity: this.capacity(),
    });
  }

  private capacity(): number {
    return this.license.claims.max_concurrent_tasks_per_agent;
  }

  private finished(): boolean {
    if (this.lastWordsUntil === null) return false;
    if (this.deps.clock.bootMs() >= this.lastWordsUntil) return true;
    return this.deps.journal.openReceipts().length === 0 && !this.pacer.wantsNews;
  }

  private async beat(): Promise<void> {
    const { clock, session, file, log } = this.deps;
    this.pacer.sending();
    try {
      this.pending ??= this.nextBeat();
      const sentBootMs = clock.bootMs();
      const nowS = Math.floor(clock.wallMs() / 1000);
      const { trust } = this;
      const reply = await sendBeat(this.pending, {
        session,
        trust,
        agentId: file.agent_id,
        url: file.url,
        nowS,
      });
      await this.take(this.pending, reply, sentBootMs);
    } catch (error) {
      if (!isFault(error)) throw error;
      const waitMs = error.code === "WIRE_RATE_LIMITED" ? Number(error.params["seconds"]) * 1000 : 0;
      const failures = this.pacer.failed(waitMs);
      log("warn", "beat.failed", { code: error.code, why: error.message, failures });
      this.noteFailure(error);
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
      capacity: this.capacity(),
      nowMs: clock.wallMs(),
      offsetMs: this.offsetMs,
    };
    return pendingBeat(composeBeat(frame, facts(), journal));
  }

  private async take(
    pending: PendingBeat,
    reply: Awaited<ReturnType<typeof sendBeat>>,
    sentBootMs: number,
  ): Promise<void> {
    const { clock, journal, receipts, log, decide, jkt, persist, pool } = this.deps;
    const latencyMs = clock.bootMs() - sentBootMs;
    const nowMs = clock.wallMs();
    const { accept: accepting } = STATE_RIGHTS[this.state()];
    const free = this.capacity() - journal.jobsIn(IN_FLIGHT).length;
    const { trust, license } = this;
    const ctx = {
      journal,
      receipts,
      trust,
      license,
      log,
      jkt,
      nowMs,
      sentBootMs,
      latencyMs,
      free,
      accepting,
      decide,
    };
    const applied = await applyReply(pending.request, reply, ctx);
    this.pending = null;
    this.pacer.succeeded();
    this.beats += 1;
    this.lastAcceptedBootMs = clock.bootMs();
    this.intervalS = reply.interval_s;
    this.slot = reply.slot;
    this.offsetMs = Math.round(reply.time - nowMs + latencyMs / 2);
    if (applied.trust !== this.trust || applied.license !== this.license) {
      this.trust = applied.trust;
      this.license = applied.license;
      persist(applied.license, applied.trust);
      pool.resize(this.capacity());
    }
    for (const lease of applied.leases) this.leases.note(lease);
    this.tellJudgements(applied.judgements);
    log("debug", "beat.accepted", {
      n: reply.n,
      latency_ms: latencyMs,
      offers: reply.jobs.length,
      acks: reply.acks.length,
    });
    this.startLeased();
    if (this.beats % COMPACT_EVERY_BEATS === 0) journal.compact();
  }

  private tellJudgements(judgements: Awaited<ReturnType<typeof applyReply>>["judgements"]): void {
    const { log } = this.deps;
    for (const judgement of judgements) {
      switch (judgement.verdict) {
        case "reject":
          log("warn", "job.rejected", {
            envelope: judgement.sha256,
            code: judgement.why.code,
            why: judgement.why.message,
          });
          break;
        case "refuse":
          log("warn", "job.refused", {
            job: judgement.claims.jti,
            code: judgement.why.code,
            why: judgement.why.message,
          });
          break;
        case "return":
          log("info", "job.returned", { job: judgement.claims.jti });
          break;
        case "accept":
          log("info", "job.accepted", { job: judgement.claims.jti, attempt: judgement.claims.attempt });
          break;
        case "known":
          continue;
      }
      this.pacer.news();
    }
    if (this.deps.journal.openReceipts().length > 0) this.pacer.news();
  }

  private startLeased(): void {
    const { journal, runner, shipper } = this.deps;
    if (!STATE_RIGHTS[this.state()].start) return;
    for (const row of journal.jobsIn(["leased"])) runner.start(row);
    if (runner.running > 0) shipper.wake();
  }

  private onLeaseEnd(jti: string, attempt: number): void {
    const { journal, runner, log } = this.deps;
    const row = journal.job(jti, attempt);
    if (!row || !IN_FLIGHT.includes(row.state)) return;
    log("warn", "lease.ended", { job: jti, attempt, on_lost: row.claims.on_lost });
    if (row.claims.on_lost === "requeue") runner.stop(jti, attempt, "lease_expired", 0);
  }

  private async settleEarlierLife(): Promise<void> {
    await this.abandonRows(this.deps.journal.jobsIn(IN_FLIGHT), "restart");
  }

  private async abandonWaiting(why: "stopping"): Promise<void> {
    try {
      await this.abandonRows(this.deps.journal.jobsIn(["accepted", "leased"]), why);
      this.news();
    } catch (error) {
      // They stay as they are and end as interrupted when the agent starts again.
      this.deps.log("error", "job.unsettled", { why: asFault(error).message });
    }
  }

  private async abandonRows(rows: readonly JobRow[], why: "restart" | "stopping"): Promise<void> {
    if (rows.length === 0) return;
    const { journal, receipts, log } = this.deps;
    const endings = rows.map((job) => ({ job, verdict: abandoned(job, why) }));
    await receipts.write(endings, (signed) =>
      journal.atomically(() => {
        for (const ending of signed) {
          const row = journal.job(ending.job.jti, ending.job.attempt);
          if (!row) continue;
          journal.advance(row, "abandon");
          storeEnding(journal, ending);
        }
      }),
    );
    for (const { job, verdict } of endings) {
      log("warn", "job.finished", {
        job: job.jti,
        attempt: job.attempt,
        outcome: verdict.outcome,
        reason: verdict.reason,
      });
    }
  }

  private async lastWords(): Promise<void> {
    const { shipper, pool, log, journal } = this.deps;
    shipper.stop();
    try {
      await shipper.flush();
    } catch (error) {
      log("warn", "log.unsent", { why: asFault(error).message }); // on disk; sent after the next start
    }
    await pool.close();
    log("info", "agent.stopped", { undelivered: journal.openReceipts().length });
  }

  private noteFailure(why: Fault): void {
    try {
      const { clock, journal } = this.deps;
      journal.writeMeta(
        "last_failure",
        JSON.stringify({ at: clock.wallMs(), code: why.code, why: why.message }),
      );
    } catch (error) {
      this.deps.log("warn", "journal.unwritable", { why: asFault(error).message }); // only `status` reads it
    }
  }

  private tellState(): void {
    const state = this.state();
    if (state === this.lastState) return;
    this.deps.log("info", "agent.state", { state, before: this.lastState });
    this.lastState = state;
  }
}
