import { isFault } from "../fault/fault.ts";
import { abandonJobs } from "./abandon.ts";
import type { Log } from "./agent-log.ts";
import type { Clock, Timers } from "./clock.ts";
import type { LeaseChange } from "./intake.ts";
import { IN_FLIGHT } from "./job-table.ts";
import type { Journal } from "./journal.ts";
import { LeaseBook } from "./leases.ts";
import type { LogShipper } from "./log-shipper.ts";
import type { ReceiptWriter } from "./receipts.ts";
import type { Runner } from "./runner.ts";

export interface DispatchDeps {
  readonly journal: Journal;
  readonly receipts: ReceiptWriter;
  readonly runner: Runner;
  readonly shipper: LogShipper;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
}

/** Starts attempts that hold a lease, and ends those that lost theirs or will never start. */
export class Dispatch {
  private readonly deps: DispatchDeps;
  private readonly leases: LeaseBook;

  constructor(deps: DispatchDeps) {
    this.deps = deps;
    this.leases = new LeaseBook(deps.clock, deps.timers, (jti, attempt) => this.onLeaseEnd(jti, attempt));
  }

  /** Takes grants and renewals that the journal has. */
  note(leases: readonly LeaseChange[]): void {
    for (const lease of leases) this.leases.note(lease);
  }

  /** Starts what holds a lease. One that ran out on its way here is asked for again by the next beat. */
  startLeased(): void {
    const { journal, runner, shipper, log } = this.deps;
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

  /** Ends what was accepted and has not started. Returns whether there was anything. */
  async abandonWaiting(): Promise<boolean> {
    try {
      return (await abandonJobs(this.deps, ["accepted", "leased"], "stopping")) > 0;
    } catch (error) {
      if (!isFault(error)) throw error;
      // They stay as they are and end as interrupted when the agent starts again.
      this.deps.log("error", "job.unsettled", { code: error.code, why: error.message });
      return false;
    }
  }

  clear(): void {
    this.leases.clear();
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
}
