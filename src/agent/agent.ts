import { EXIT, type ExitStatus } from "../fault/exit.ts";
import { type Fault, isFault } from "../fault/fault.ts";
import type { JobClaims } from "../protocol/job.ts";
import { LIMITS } from "../protocol/limits.ts";
import type { Grant } from "../protocol/receipt.ts";
import type { AgentState, BeatAnswer, BeatRequest, Slot } from "../protocol/wire.ts";
import { type License, standingUnder } from "../trust/license.ts";
import { newNonce } from "../trust/proof.ts";
import type { TrustSet } from "../trust/trust-set.ts";
import { abandonJobs } from "./abandon.ts";
import type { Log } from "./agent-log.ts";
import { nextAgentState, STATE_RIGHTS } from "./agent-state.ts";
import { boundedInterval, type PendingBeat, pendingBeat, sendBeat } from "./beat.ts";
import type { Clock, Random, Timers } from "./clock.ts";
import { type BeatFacts, composeBeat } from "./compose.ts";
import { Dispatch } from "./dispatch.ts";
import { type Applied, applyAnswer } from "./exchange.ts";
import { IN_FLIGHT } from "./job-table.ts";
import type { Journal } from "./journal.ts";
import { tellJudgement } from "./judgement-log.ts";
import { Lifecycle } from "./lifecycle.ts";
import type { LogShipper } from "./log-shipper.ts";
import { Pacer } from "./pacer.ts";
import type { WorkerPool } from "./pool.ts";
import type { ReceiptWriter } from "./receipts.ts";
import { rekeyOnce } from "./rekey.ts";
import { fetchNewerTrust } from "./renew-trust.ts";
import type { Runner } from "./runner.ts";
import type { SealedState } from "./sealed-state.ts";
import type { Session } from "./session.ts";
import { Shutdown } from "./shutdown.ts";
import { type End, standing } from "./standing.ts";
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
  readonly stateDir: string;
  readonly state: SealedState;
  /** Begun on what was left of an altered state: once that is whole, the agent begins anew. */
  readonly remnant: boolean;
}

const COMPACT_EVERY_BEATS = 60;

/** The exit status, or that the agent is another one now than it began as: its next life begins in the same process. */
export type AgentEnd = ExitStatus | "again";

/**
 * The loop: facts → state → beat → answer → effects. One beat is in flight at a time; nothing of an answer is acted on
 * before the journal has it; a beat that fails is sent again with the same bytes.
 */
export class Agent {
  /** This life, as beats and `recover` orders name it. */
  readonly inst: string;
  private readonly deps: AgentDeps;
  private readonly startedAt: number;
  private readonly pacer: Pacer;
  private readonly dispatch: Dispatch;
  private readonly lifecycle: Lifecycle;
  private readonly shutdown: Shutdown;
  private trust: TrustSet;
  private license: License;
  private slot: Slot;
  private intervalS: number;
  private pending: PendingBeat | null = null;
  /** The last beat that was answered, and how. */
  private told: { readonly request: BeatRequest; readonly standing: BeatAnswer["standing"] } | null = null;
  /** The order that ended this agent. */
  private end: End | null = null;
  private lastAcceptedBootMs: number;
  private offsetMs: number | null = null;
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
    this.dispatch = new Dispatch(deps);
    this.lifecycle = new Lifecycle(deps);
    const abandonWaiting = () => this.abandonWaiting();
    this.shutdown = new Shutdown({ ...deps, abandonWaiting, news: () => this.news() });
  }

  /** Settles what an earlier life left open, then beats until this one is over. */
  async run(): Promise<AgentEnd> {
    try {
      await abandonJobs(this.deps, IN_FLIGHT, "restart");
      this.obey();
      await this.lifecycle.settle(this.license, this.trust);
      this.deps.shipper.wake();
      while (!this.finished()) {
        this.bidFarewell();
        if (!(await this.pacer.due(this.intervalS, this.shutdown.untilBootMs))) continue;
        if ((await this.act()) !== "again") continue;
        await this.putAway(AbortSignal.abort()); // the next life ships what is left, under its own key
        return "again";
      }
      await this.putAway(this.shutdown.signal);
      this.deps.log("info", "agent.stopped", { undelivered: this.deps.journal.openReceipts().length });
      return this.end === null ? EXIT.OK : EXIT.TERMINAL;
    } finally {
      this.dispatch.clear();
      this.deps.receipts.close();
      this.lifecycle.clear();
      this.shutdown.clear();
    }
  }

  /** Something a beat should tell soon, or the wish of an operator or the server that it beat now. */
  news(): void {
    this.pacer.news();
    this.deps.shipper.wake(); // the end of a job is such news, and the end of its log
  }

  /** First call: nothing new starts, running jobs get `graceMs` to end. Second call: they are cancelled now. */
  drain(graceMs: number): void {
    this.shutdown.drain(graceMs);
  }

  state(): AgentState {
    const { clock, journal } = this.deps;
    return nextAgentState({
      ...this.lifecycle.facts(this.license.claims.epoch),
      activated: true,
      license: standingUnder(this.license, this.trust, this.nowS()),
      draining: this.shutdown.draining,
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

  /** What is due: a beat, or, once an admin has picked this process for it, the change of keys in its place. */
  private async act(): Promise<"again" | null> {
    this.pacer.sending();
    let failed: "beat.failed" | "rekey.failed" = "beat.failed";
    try {
      if (standing.recover(this.deps.journal, this.license.claims.epoch) !== null && this.end === null) {
        failed = "rekey.failed";
        if (await this.rekey()) return "again";
      } else {
        await this.beat();
      }
    } catch (error) {
      if (!isFault(error)) throw error;
      await this.onFailure(failed, error);
    }
    this.tellState();
    return this.deps.remnant && this.deps.state.findings.length === 0 ? "again" : null;
  }

  private async beat(): Promise<void> {
    const { clock, session, file } = this.deps;
    await this.lifecycle.look();
    this.pending ??= this.nextBeat();
    const sentBootMs = clock.bootMs();
    const answer = await sendBeat(this.pending, {
      session,
      trust: this.trust,
      agentId: file.agent_id,
      url: file.url,
      nowS: () => this.nowS(),
      signal: this.shutdown.signal,
    });
    await this.take(this.pending, answer, sentBootMs);
  }

  /** Returns whether the agent has its new keys. From the first try on it does not beat: the old key may be retired. */
  private async rekey(): Promise<boolean> {
    const { runner, journal } = this.deps;
    if (runner.running > 0) return false; // the end of the last one is news
    await this.abandonWaiting();
    const recover = standing.recover(journal, this.license.claims.epoch);
    if (recover === null) return false;
    const { trust, license } = this;
    const done = await rekeyOnce(recover, {
      ...this.deps,
      trust,
      license,
      nowS: this.nowS(),
      signal: this.shutdown.signal,
    });
    if (!done) this.pacer.news(); // the order is spent: what stands now is told by a beat
    this.pacer.succeeded();
    return done;
  }

  private async onFailure(event: "beat.failed" | "rekey.failed", error: Fault): Promise<void> {
    const waitMs = error.code === "WIRE_RATE_LIMITED" ? Number(error.params["seconds"]) * 1000 : 0;
    const failures = this.pacer.failed(waitMs);
    this.deps.log("warn", event, { code: error.code, why: error.message, failures });
    this.noteFailure(error);
    const unknownKey = [error, error.cause].some((why) => isFault(why, "JWS_UNKNOWN_KEY"));
    if (unknownKey) await this.askForTrust();
  }

  /** The request id is on disk before the request leaves, so that an earlier life's beat is known as one. */
  private nextBeat(): PendingBeat {
    const { journal, clock, facts, random, bootId, state } = this.deps;
    const rid = newNonce(random);
    journal.writeMeta("pending_rid", rid);
    const { epoch } = this.license.claims;
    const frame = {
      chain: journal.chain() ?? this.deps.file.chain,
      inst: this.inst,
      boot: bootId,
      rid,
      state: this.state(),
      startedAt: this.startedAt,
      seal: state.head,
      findings: state.findings,
      epoch,
      capacity: this.capacity(),
      nowMs: clock.wallMs(),
      offsetMs: this.offsetMs,
    };
    const made = pendingBeat(composeBeat(frame, facts(), journal), clock.bootMs());
    this.pacer.made();
    return made;
  }

  private async take(pending: PendingBeat, answer: BeatAnswer, sentBootMs: number): Promise<void> {
    const { clock, journal, state } = this.deps;
    const latencyMs = clock.bootMs() - sentBootMs;
    const nowMs = clock.wallMs();
    const applied = await applyAnswer(pending.request, answer, {
      ...this.deps,
      trust: this.trust,
      license: this.license,
      inst: this.inst,
      nowMs,
      leasesFromBootMs: pending.madeBootMs,
      latencyMs,
      capacity: this.capacity(),
      accepting: STATE_RIGHTS[this.state()].accept,
      tampered: state.findings.length > 0,
      resealProblem: (ctr) => state.resealProblem(ctr),
    });
    // The answer to a later try may be the one made for the first: its time says nothing, and what is new comes with the next.
    if (this.pacer.failing) this.pacer.news();
    else this.offsetMs = Math.round(answer.time - nowMs + latencyMs / 2);
    this.pending = null;
    this.told = { request: pending.request, standing: answer.standing };
    this.pacer.succeeded();
    this.lastAcceptedBootMs = clock.bootMs();
    this.intervalS = answer.interval_s;
    if (answer.standing === "live") this.slot = answer.slot;
    this.adopt(applied.trust, applied.license);
    this.tellAnswer(pending.request, answer, applied);
    await this.carryOut(applied);
    this.beats += 1;
    if (this.beats % COMPACT_EVERY_BEATS === 0) journal.compact(nowMs);
  }

  private tellAnswer(request: BeatRequest, answer: BeatAnswer, applied: Applied): void {
    const { journal, log } = this.deps;
    const tell = applied.judgements.filter((judgement) => tellJudgement(log, judgement));
    const sent = new Set(request.receipts);
    const live = answer.standing === "live";
    const again = live && answer.retell_after !== undefined;
    const untold = again || (live && journal.openReceipts().some(({ jws }) => !sent.has(jws)));
    if (tell.length > 0 || untold || applied.orders.lastSeq > request.orders.seq) this.news();
    log("debug", "beat.accepted", {
      standing: answer.standing,
      n: live ? answer.n : null,
      offers: live ? answer.jobs.length : 0,
      acks: live ? answer.acks.length : 0,
      orders: answer.orders.length,
    });
  }

  /** The answer is in the journal: what it says happens now, and the files follow. */
  private async carryOut({ leases, orders }: Applied): Promise<void> {
    this.dispatch.note(leases);
    this.lifecycle.enact(orders);
    this.obey();
    if (STATE_RIGHTS[this.state()].start) this.dispatch.startLeased();
    await this.lifecycle.settle(this.license, this.trust);
    // What made the agent take nothing may have come while this answer was under way.
    if (!STATE_RIGHTS[this.state()].keep) await this.abandonWaiting();
  }

  private obey(): void {
    this.end = this.lifecycle.obey(this.license.claims.epoch);
    if (this.end !== null) this.shutdown.end(this.end);
  }

  /** Takes trust and license into use. The journal has them already, and goes before the files at the next start. */
  private adopt(trust: TrustSet, license: License): void {
    if (trust === this.trust && license === this.license) return;
    this.trust = trust;
    this.license = license;
    this.deps.pool.resize(this.capacity());
    this.lifecycle.changed();
  }

  private async askForTrust(): Promise<void> {
    const { session, journal, log } = this.deps;
    try {
      const ctx = { session, nowS: this.nowS(), signal: this.shutdown.signal };
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

  private async abandonWaiting(): Promise<void> {
    if (await this.dispatch.abandonWaiting()) this.news();
  }

  private finished(): boolean {
    const { clock, journal } = this.deps;
    const { untilBootMs } = this.shutdown;
    if (untilBootMs === null) return false;
    if (clock.bootMs() >= untilBootMs) return true;
    if (this.end !== null && !this.shutdown.draining) return this.saidFarewell();
    const said = !this.pacer.wantsNews || this.pacer.failing;
    return said && journal.openReceipts().length === 0;
  }

  /** The Control Plane has been told that this agent is terminal and owes nothing; one that is held back is not heard. */
  private saidFarewell(): boolean {
    if (this.told === null) return false;
    const { request, standing: heard } = this.told;
    if (request.agent.state !== "terminal" || request.jobs.length > 0) return false;
    return heard === "held" || (request.receipts.length === 0 && !this.owesReceipts());
  }

  /** The last beat of an ended agent closes its door, so it waits for the receipts and the logs. */
  private bidFarewell(): void {
    if (this.end === null || this.shutdown.untilBootMs === null) return;
    if (!this.owesReceipts() && this.deps.journal.unsentLogs().length === 0) this.pacer.news();
  }

  private owesReceipts(): boolean {
    return this.deps.journal.openReceipts().length > 0;
  }

  private async putAway(signal: AbortSignal): Promise<void> {
    await this.deps.shipper.end(signal);
    await this.deps.pool.close();
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
