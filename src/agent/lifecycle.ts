import { isFault } from "../fault/fault.ts";
import type { License } from "../trust/license.ts";
import type { TrustSet } from "../trust/trust-set.ts";
import type { Log } from "./agent-log.ts";
import type { AgentFacts } from "./agent-state.ts";
import type { Clock, Timers } from "./clock.ts";
import type { Journal } from "./journal.ts";
import type { OrderPlan } from "./orders.ts";
import type { Runner } from "./runner.ts";
import type { SealedState } from "./sealed-state.ts";
import { type Hold, standing } from "./standing.ts";

export interface LifecycleDeps {
  readonly journal: Journal;
  readonly runner: Runner;
  readonly state: SealedState;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
}

/** SIGTERM to SIGKILL for jobs that an order cancels. */
const CANCEL_GRACE_MS = 5_000;
/** Looking at files that were whole more often than this says nothing new. */
const LOOK_MS = 10_000;

/**
 * What keeps an agent from working, beside its license: orders, quarantine, its altered files. What orders left is read
 * from the journal whenever it is asked for; here are only the effects that follow from it.
 */
export class Lifecycle {
  private readonly deps: LifecycleDeps;
  private lookedBootMs: number;
  private told: string;
  /** The files may not hold yet what the journal holds. */
  private behind = true;
  private armed: { readonly since: number; readonly forget: () => void } | null = null;

  constructor(deps: LifecycleDeps) {
    this.deps = deps;
    this.lookedBootMs = deps.clock.bootMs();
    this.told = "";
  }

  facts(epoch: number): Pick<AgentFacts, "ended" | "tampered" | "quarantined" | "held"> {
    const { journal, state } = this.deps;
    return {
      ended: standing.end(journal) !== null,
      tampered: state.findings.length > 0,
      quarantined: standing.quarantine(journal, epoch) !== null,
      held: standing.hold(journal) !== null,
    };
  }

  /** The orders of a reply are in the journal: tells of them, and stops what they cancel. */
  enact({ taken, refused }: OrderPlan): void {
    const { journal, runner, log } = this.deps;
    for (const { code, message: why } of refused) log("warn", "order.refused", { code, why });
    for (const { claims } of taken) {
      const { seq, order } = claims;
      log("warn", "order.taken", { seq, ...order });
      if (order.type !== "cancel") continue;
      for (const { jti, attempt } of journal.jobsIn(["running", "stopping"])) {
        if (jti === order.jti) runner.stop(jti, attempt, "order_cancel");
      }
    }
    if (taken.length > 0) this.behind = true;
  }

  /** Makes what the journal says true for what is running. Returns the order that ends the agent, if there is one. */
  obey(epoch: number): ReturnType<typeof standing.end> {
    const { journal, runner } = this.deps;
    if (standing.quarantine(journal, epoch) !== null) runner.stopAll("quarantined", CANCEL_GRACE_MS);
    this.obeyHold(standing.hold(journal));
    return standing.end(journal);
  }

  private obeyHold(hold: Hold | null): void {
    const { timers, runner } = this.deps;
    if (this.armed?.since === hold?.since) return;
    this.armed?.forget();
    this.armed = null;
    if (hold === null || hold.grace_s === null) return;
    const cancel = () => runner.stopAll("order_stop", CANCEL_GRACE_MS);
    this.armed = { since: hold.since, forget: timers.after(hold.grace_s * 1000, cancel) };
  }

  /** License or trust changed: the files are to follow. */
  changed(): void {
    this.behind = true;
  }

  /** Brings the files in line with the journal; what fails now is tried again after the next beat. */
  async settle(license: License, trust: TrustSet): Promise<void> {
    const { state, log } = this.deps;
    try {
      await this.reseal();
      if (!this.behind || state.findings.length > 0) return;
      await state.follow(license, trust);
      this.behind = false;
    } catch (error) {
      if (!isFault(error)) throw error;
      log("warn", "state.unwritten", { code: error.code, why: error.message });
    }
    this.tell();
  }

  private async reseal(): Promise<void> {
    const { journal, state, log } = this.deps;
    const ctr = standing.reseal(journal);
    if (ctr === null) return;
    const why = state.resealProblem(ctr) ?? (await this.takeAsTheyAre(ctr));
    journal.clearMeta("reseal");
    log("warn", "state.resealed", { ctr, problem: why, findings: state.findings.length });
  }

  /**
   * Returns why it cannot be done now. Then the order is spent: kept, it would take over, some other day, files that nobody
   * has looked at. A full disk is only waited for.
   */
  private async takeAsTheyAre(ctr: number): Promise<string | null> {
    try {
      await this.deps.state.reseal(ctr);
      return null;
    } catch (error) {
      if (!isFault(error, "STATE_TAMPERED") && !isFault(error, "ORDER_NOT_APPLICABLE")) throw error;
      return error.message;
    }
  }

  /** Looks at the state files again: with every beat while something is wrong, else at most once in ten seconds. */
  async look(): Promise<void> {
    const { clock, state, log } = this.deps;
    const now = clock.bootMs();
    if (state.findings.length === 0 && now - this.lookedBootMs < LOOK_MS) return;
    this.lookedBootMs = now;
    try {
      await state.check();
    } catch (error) {
      if (!isFault(error)) throw error;
      log("warn", "state.unchecked", { code: error.code, why: error.message });
    }
    this.tell();
  }

  /** Names what is wrong with the files, once for each change of it. */
  tell(): void {
    const { state, log } = this.deps;
    const found = state.findings.map(({ code, name }) => `${code} ${name}`).join(", ");
    if (found === this.told) return;
    this.told = found;
    for (const { code, name, what } of state.findings) log("error", "state.tampered", { code, name, what });
    if (found === "") log("warn", "state.whole");
  }

  clear(): void {
    this.armed?.forget();
    this.armed = null;
  }
}
