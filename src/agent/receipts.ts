import { fault } from "../fault/fault.ts";
import type { Sha256 } from "../protocol/ids.ts";
import type { SigningKey } from "../trust/keys.ts";
import { signReceipt } from "../trust/receipt.ts";
import { sha256Of } from "../trust/strict-jws.ts";
import type { JobRow } from "./job-row.ts";
import type { Journal } from "./journal.ts";
import { type ReceiptFrame, receiptClaims, type Verdict } from "./verdict.ts";

/** An ended attempt on its way into a receipt. */
export interface Ending {
  readonly job: Pick<
    JobRow,
    "jti" | "attempt" | "claims" | "envelopeSha256" | "grant" | "acceptedAt" | "startedAt"
  >;
  readonly verdict: Verdict;
}

export interface SignedEnding extends Ending {
  readonly atMs: number;
  readonly receipt: { readonly seq: number; readonly sha256: Sha256; readonly jws: string };
}

/**
 * Writes receipts one after the other: each is chained to the one before, so signing (which waits) and storing must
 * not interleave. Whoever ends attempts says which only when its turn has come: the one before may have ended the same.
 */
export class ReceiptWriter {
  private readonly journal: Journal;
  private readonly key: SigningKey;
  private readonly frame: () => ReceiptFrame;
  private readonly wallMs: () => number;
  private lane: Promise<unknown> = Promise.resolve();
  private closed = false;

  constructor(journal: Journal, key: SigningKey, frame: () => ReceiptFrame, wallMs: () => number) {
    this.journal = journal;
    this.key = key;
    this.frame = frame;
    this.wallMs = wallMs;
  }

  /**
   * Signs the endings `pick` answers, in order, and runs `store` with them, which stores all of them or none. Nothing
   * else is picked or signed until `store` returned or threw.
   */
  write<T>(pick: () => readonly Ending[], store: (signed: readonly SignedEnding[]) => T): Promise<T> {
    const turn = this.lane.then(async () => {
      this.refuseWhenClosed();
      const atMs = this.wallMs();
      const signed: SignedEnding[] = [];
      let head = this.journal.receiptHead();
      for (const ending of pick()) {
        const claims = receiptClaims(this.frame(), head, ending.job, ending.verdict, atMs);
        const jws = await signReceipt(this.key, claims);
        head = { seq: claims.seq, sha256: sha256Of(jws) };
        signed.push({ ...ending, atMs, receipt: { ...head, jws } });
      }
      this.refuseWhenClosed();
      return store(signed);
    });
    this.lane = turn.catch(() => undefined); // whoever waits for `turn` has the error; the next in the lane goes on
    return turn;
  }

  /** The journal is about to be closed: what is still under way ends as a fault, and is settled by the next life. */
  close(): void {
    this.closed = true;
  }

  private refuseWhenClosed(): void {
    if (this.closed) throw fault("JOURNAL_UNUSABLE", { path: "journal.db", why: "the agent has ended" });
  }
}

/** Stores one signed ending: outcome, receipt and chain head. The caller has moved the state along. */
export function storeEnding(journal: Journal, { job, verdict, atMs, receipt }: SignedEnding): void {
  const logSize = verdict.report?.log.size ?? null;
  journal.finish(job, { outcome: verdict.outcome, reason: verdict.reason, atMs, logSize }, receipt);
}
