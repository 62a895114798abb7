import * as v from "valibot";
import { LIMITS } from "../protocol/limits.ts";
import { CountSchema, EpochMillisSchema, EpochSecondsSchema, ThumbprintSchema } from "../protocol/scalars.ts";
import type { Journal } from "./journal.ts";

const jws = v.pipe(v.string(), v.maxLength(LIMITS.SMALL_JWS_BYTES));
const since = EpochMillisSchema;

const OrdersSchema = v.strictObject({ epoch: CountSchema, seq: CountSchema });

const HoldSchema = v.strictObject({
  type: v.picklist(["drain", "stop"]),
  since,
  /** How long running jobs may go on; null for as long as they need. */
  grace_s: v.nullable(CountSchema),
});
/** Told to take nothing new, until told to go on. */
export type Hold = v.InferOutput<typeof HoldSchema>;

const QuarantineSchema = v.strictObject({
  epoch: CountSchema,
  /** STATE_QUARANTINED by order, else what the agent found by itself. */
  code: v.string(),
  reason: v.string(),
  since,
  /** The order, or the note the agent signed: what lies in quarantine.jws. */
  jws,
});
export type Quarantine = v.InferOutput<typeof QuarantineSchema>;

const EndSchema = v.strictObject({ reason: v.string(), grace_s: CountSchema, since, jws });
/** The order that ended this agent. */
export type End = v.InferOutput<typeof EndSchema>;

const RecoverSchema = v.strictObject({
  epoch: CountSchema,
  /** The order as it came, and when it ends. */
  jws,
  exp: EpochSecondsSchema,
  /** Thumbprint of the new key once it is on disk: from then on the Control Plane may know it. */
  jkt: v.nullable(ThumbprintSchema),
});
export type Recover = v.InferOutput<typeof RecoverSchema>;

/**
 * What the Control Plane's orders left behind, as the journal holds it. Nothing here is remembered elsewhere, so a
 * restart finds exactly what the last transaction said.
 */
export const standing = {
  /** Number of the last order taken within `epoch`. */
  lastOrder: (journal: Journal, epoch: number): number => {
    const taken = journal.readDocument("orders", OrdersSchema);
    return taken?.epoch === epoch ? taken.seq : 0;
  },
  setLastOrder: (journal: Journal, epoch: number, seq: number): void =>
    journal.writeDocument("orders", { epoch, seq }),

  hold: (journal: Journal): Hold | null => journal.readDocument("hold", HoldSchema),
  setHold: (journal: Journal, hold: Hold): void => journal.writeDocument("hold", hold),

  /** The quarantine in force; one of an epoch before the license's is over. */
  quarantine: (journal: Journal, epoch: number): Quarantine | null => {
    const kept = journal.readDocument("quarantine", QuarantineSchema);
    return kept !== null && kept.epoch >= epoch ? kept : null;
  },
  setQuarantine: (journal: Journal, quarantine: Quarantine): void =>
    journal.writeDocument("quarantine", quarantine),

  end: (journal: Journal): End | null => journal.readDocument("terminal", EndSchema),
  setEnd: (journal: Journal, end: End): void => journal.writeDocument("terminal", end),

  recover: (journal: Journal, epoch: number): Recover | null => {
    const kept = journal.readDocument("recover", RecoverSchema);
    return kept?.epoch === epoch ? kept : null;
  },
  setRecover: (journal: Journal, recover: Recover): void => journal.writeDocument("recover", recover),

  /** The seal number an order asked for, as long as it is not carried out. */
  reseal: (journal: Journal): number | null => {
    const text = journal.readMeta("reseal");
    return text === null ? null : Number(text);
  },
  setReseal: (journal: Journal, ctr: number): void => journal.writeMeta("reseal", String(ctr)),
} as const;
