import { LIMITS } from "../protocol/limits.ts";

/** Bounds of the Control Plane alone, with their units in their names. Those of the wire are in `protocol/limits.ts`. */
export const SETTINGS = {
  /** One transaction takes at most so many writes, and waits so long for company. */
  GROUP_WRITES: 64,
  GROUP_WAIT_MS: 2,

  LEASE_TTL_S: LIMITS.LEASE_TTL_S,
  /** A lease is over for the server only this long after it is over for the agent. */
  LEASE_SKEW_S: 60,
  /** An attempt that was lost or never started is followed by another, so often. */
  ATTEMPTS: 5,
  /** So many agents' rejections of an envelope end the job. */
  REJECTIONS: 3,
  /** Signed envelopes of one reply, in bytes. */
  OFFER_BYTES: 3_145_728,
  /** Largest submission that still fits an envelope once it is signed. */
  SUBMISSION_BYTES: 716_800,

  /** A holder silent for so long loses its slot to one that waits. */
  SLOT_SILENCE_MS: 900_000,
  LICENSE_TTL_S: 30 * 86_400,
  LICENSE_GRACE_S: 7 * 86_400,
  TRUST_TTL_S: LIMITS.TRUST_LIFETIME_S,

  /** Longer than the proof can be replayed for: its age and the tolerated skew. */
  PROOF_KEPT_MS: 3 * LIMITS.DPOP_AGE_S * 1000,
  NONCE_SLOT_S: 300,

  /** A late log is taken so long after its receipt. */
  LOG_GRACE_MS: 86_400_000,
  /** Bytes of a log beyond the job's own output: what the agent itself writes into it. */
  LOG_EXTRA_BYTES: 1_048_576,
  LOG_READ_BYTES: 1_048_576,
  LONG_POLL_S: 30,

  WAKES: 10_000,
  WAKE_COMMENT_MS: 20_000,
  SWEEP_MS: 1_000,
  KEY_CHECK_MS: 3_600_000,

  JOBS_LISTED: 200,
} as const;

/** What the operator chooses when the Control Plane starts. */
export interface Settings {
  readonly intervalS: number;
  /** Never under three intervals and a minute, so that a lost beat or two lose no lease. */
  readonly leaseTtlS: number;
}

/** The settings that follow from a heartbeat interval. */
export function settingsFor(intervalS: number): Settings {
  return { intervalS, leaseTtlS: Math.max(SETTINGS.LEASE_TTL_S, 3 * intervalS + 60) };
}
