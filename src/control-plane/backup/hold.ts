import { reasonOf } from "../../fault/fault.ts";
import type { Log } from "../serve/log.ts";
import { SETTINGS, type Settings } from "../settings.ts";
import { beginHold, endHold } from "../store/held-jobs.ts";
import type { Writer } from "../store/schema.ts";

interface HoldDeps {
  readonly write: <T>(work: (db: Writer) => Promise<T>) => Promise<T>;
  readonly settings: Settings;
  readonly log: Log;
  readonly nowMs: () => number;
}

/** The time after a restore in which jobs that were open wait for whoever has them. */
export interface Hold {
  /** Whether any job may still be held. */
  active(): boolean;
  stop(): Promise<void>;
}

/**
 * Begins the hold at a start, if a restore left one: as long as a lease and the skew that is allowed it, counted from now,
 * because nobody could be heard before. Begins anew with every start until it is over.
 */
export async function startHold({ write, settings, log, nowMs }: HoldDeps): Promise<Hold> {
  const untilMs = nowMs() + (settings.leaseTtlS + SETTINGS.LEASE_SKEW_S) * 1000;
  let active = await write((db) => beginHold(db, untilMs));
  if (active) log("info", "jobs held since a restore", { until: new Date(untilMs).toISOString() });
  let ending: Promise<void> = Promise.resolve();
  const end = async () => {
    try {
      const jobs = await write(endHold);
      active = false;
      clearInterval(timer);
      log("info", "jobs held since a restore are offered again", { jobs });
    } catch (error) {
      log("error", "held jobs not released", { why: reasonOf(error) }); // tried again with the next tick
    }
  };
  let running = false;
  const timer = setInterval(() => {
    if (!active || running || nowMs() < untilMs) return;
    running = true;
    ending = end().finally(() => {
      running = false;
    });
  }, SETTINGS.SWEEP_MS);
  if (!active) clearInterval(timer);
  return {
    active: () => active,
    stop: async () => {
      clearInterval(timer);
      await ending;
    },
  };
}
