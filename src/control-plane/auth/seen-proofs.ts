import { SETTINGS } from "../settings.ts";

const PRUNED_EVERY_MS = 10_000;
const REMEMBERED_MAX = 100_000;

/**
 * Proofs seen by this process, in front of the table every replica shares: a replay is refused before it costs a write,
 * and two at the same instant cannot both pass. Keys cost their makers nothing, so it is bounded: what it forgets early
 * the table still knows.
 */
export class SeenProofs {
  private readonly until = new Map<string, number>();
  private prunedMs = 0;

  /** Notes a proof; false when it was seen before. */
  admit(proof: string, nowMs: number): boolean {
    if (nowMs - this.prunedMs > PRUNED_EVERY_MS) this.prune(nowMs);
    if (this.until.has(proof)) return false;
    this.until.set(proof, nowMs + SETTINGS.PROOF_KEPT_MS);
    if (this.until.size > REMEMBERED_MAX) this.forgetOldest();
    return true;
  }

  private forgetOldest(): void {
    for (const [proof] of this.until) {
      this.until.delete(proof);
      return;
    }
  }

  /** Map keeps the order of insertion, which is the order of expiry. */
  private prune(nowMs: number): void {
    this.prunedMs = nowMs;
    for (const [proof, until] of this.until) {
      if (until > nowMs) return;
      this.until.delete(proof);
    }
  }
}
