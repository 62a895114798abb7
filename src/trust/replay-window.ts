import { LIMITS } from "../protocol/limits.ts";

/**
 * Sliding window over the per-agent sequence of offers (RFC 4303 section 3.4.3), as a value: `admit` answers the next
 * window and leaves this one alone, so that it is stored in the same transaction as the job it admits.
 */
export interface ReplayWindow {
  /** Highest sequence number admitted; 0 before the first. */
  readonly highest: number;
  /** One bit a number, bit `seq mod 1024`; 128 bytes. */
  readonly bits: Uint8Array;
}

export const EMPTY_WINDOW: ReplayWindow = { highest: 0, bits: new Uint8Array(LIMITS.REPLAY_WINDOW / 8) };

export type Admission =
  | { readonly ok: true; readonly window: ReplayWindow }
  | { readonly ok: false; readonly why: string };

/** Admits `seq` once. Numbers at or below `highest - 1024` are too old to tell and refused. */
export function admit(window: ReplayWindow, seq: number): Admission {
  if (seq <= window.highest - LIMITS.REPLAY_WINDOW) {
    return { ok: false, why: `its offer ${seq} is older than the window (${window.highest})` };
  }
  if (seq <= window.highest && has(window.bits, seq)) {
    return { ok: false, why: `its offer ${seq} was seen before` };
  }
  const bits = Uint8Array.from(window.bits);
  if (seq - window.highest >= LIMITS.REPLAY_WINDOW) bits.fill(0);
  else for (let skipped = window.highest + 1; skipped < seq; skipped++) clear(bits, skipped);
  set(bits, seq);
  return { ok: true, window: { highest: Math.max(window.highest, seq), bits } };
}

const at = (seq: number) => seq % LIMITS.REPLAY_WINDOW;
const has = (bits: Uint8Array, seq: number) => ((bits[at(seq) >> 3] ?? 0) & (1 << (at(seq) & 7))) !== 0;
const set = (bits: Uint8Array, seq: number) => {
  bits[at(seq) >> 3] = (bits[at(seq) >> 3] ?? 0) | (1 << (at(seq) & 7));
};
const clear = (bits: Uint8Array, seq: number) => {
  bits[at(seq) >> 3] = (bits[at(seq) >> 3] ?? 0) & ~(1 << (at(seq) & 7));
};
