import { KEY_USES, type KeyUse, type TrustClaims } from "../../protocol/trust.ts";
import { SETTINGS } from "../settings.ts";

export type KeyWindow = TrustClaims["keys"][number];

const DAY_S = 86_400;

/** How long a key of each use may sign, and how long it stays in the key set after that for what it signed. */
const LIFE: Readonly<Record<KeyUse, { readonly signsS: number; readonly keptS: number }>> = {
  job: { signsS: 30 * DAY_S, keptS: DAY_S },
  order: { signsS: 30 * DAY_S, keptS: DAY_S },
  license: { signsS: 180 * DAY_S, keptS: SETTINGS.LICENSE_TTL_S + SETTINGS.LICENSE_GRACE_S + DAY_S },
};

/** How long a key of each use may sign at most, in seconds. */
export const LIFE_S = {
  job: LIFE.job.signsS,
  order: LIFE.order.signsS,
  license: LIFE.license.signsS,
} as const satisfies Record<KeyUse, number>;

/** A successor is published so long before the end; more than the seven days agents are promised to learn of it. */
const OVERLAP_S = 10 * DAY_S;
/** A key that is rotated by hand goes on signing for so long beside its successor. */
const ROTATED_OVERLAP_S = 7 * DAY_S;
/** The old key goes on signing until so shortly before its end, so that nobody meets a key he was not told of. */
const LAST_S = DAY_S;
/** The key set itself is signed anew when so little of its time is left. */
const TRUST_RENEWED_S = 45 * DAY_S;

export interface Rotation {
  /** Windows that stay in the key set. */
  readonly keep: readonly KeyWindow[];
  /** A new key for each of these, with the window it gets. */
  readonly make: readonly { readonly use: KeyUse; readonly nbf: number; readonly exp: number }[];
  /** False when nothing changes and the key set is young enough. */
  readonly due: boolean;
}

/**
 * What the key set needs at `nowS`: keys of every use that sign for more than `horizonS`, no key that nobody needs. With a
 * horizon beyond a key's life there are several, each known long before it signs. Pure.
 */
export function planRotation(
  claims: { readonly keys: readonly KeyWindow[]; readonly exp: number } | null,
  nowS: number,
  horizonS = OVERLAP_S,
): Rotation {
  const known = claims?.keys ?? [];
  const keep = known.filter((key) => nowS < key.exp + LIFE[key.use].keptS);
  const make = KEY_USES.flatMap((use) => successors(keep, use, nowS, horizonS));
  const old = claims === null || claims.exp - nowS < TRUST_RENEWED_S;
  return { keep, make, due: old || make.length > 0 || keep.length < known.length };
}

/** The windows to add so that there is a key of the use at any time until the horizon, and one to come. */
function successors(keys: readonly KeyWindow[], use: KeyUse, nowS: number, horizonS: number) {
  const made: { use: KeyUse; nbf: number; exp: number }[] = [];
  let until = coveredUntil(keys, use, nowS);
  while (until - nowS <= horizonS) {
    const nbf = Math.max(nowS, until - OVERLAP_S);
    until = nbf + LIFE[use].signsS;
    made.push({ use, nbf, exp: until });
  }
  return made;
}

/** Until when there is a key of the use without a gap; `nowS` when there is none now. */
export function coveredUntil(keys: readonly KeyWindow[], use: KeyUse, nowS: number): number {
  let until = nowS;
  const mine = keys.filter((key) => key.use === use && key.revoked_at === undefined);
  for (const { nbf, exp } of mine.toSorted((a, b) => a.nbf - b.nbf)) {
    if (nbf <= until) until = Math.max(until, exp);
  }
  return until;
}

/**
 * The key set when keys of these uses make room for successors: what signs now goes on for seven days, or, `atOnce`, not
 * at all, and stays good for what it signed. Keys that have not begun are left out. Pure.
 */
export function retire(
  keys: readonly KeyWindow[],
  uses: readonly KeyUse[],
  nowS: number,
  atOnce: boolean,
): KeyWindow[] {
  const end = nowS + (atOnce ? 0 : ROTATED_OVERLAP_S) + LAST_S;
  return keys.flatMap((key) => {
    if (!uses.includes(key.use) || key.exp <= end) return [key];
    return key.nbf > nowS ? [] : [{ ...key, exp: end }];
  });
}

/** The key set with these keys revoked; what was revoked before stays as it was. Pure. */
export const revoke = (keys: readonly KeyWindow[], revoked: ReadonlyMap<string, number>): KeyWindow[] =>
  keys.map((key) => {
    const at = revoked.get(key.kid);
    return at === undefined || key.revoked_at !== undefined ? key : { ...key, revoked_at: at };
  });

/** Which key signs at `nowS`: the one that ends first but not just yet, so that successors are known before they sign. */
export function signingWindow(keys: readonly KeyWindow[], use: KeyUse, nowS: number): KeyWindow | null {
  const candidates = keys.filter((key) => key.use === use && usable(key, nowS)).sort((a, b) => a.exp - b.exp);
  return candidates.find((key) => key.exp - nowS > LAST_S) ?? candidates.at(-1) ?? null;
}

/** Until when the key signs, if it does now: then its successor takes over, or it ends. Seconds. */
export const signsUntil = (keys: readonly KeyWindow[], { use, exp }: KeyWindow): number =>
  keys.some(
    (key) => key.use === use && key.exp > exp && key.nbf <= exp - LAST_S && key.revoked_at === undefined,
  )
    ? exp - LAST_S
    : exp;

const usable = (key: KeyWindow, nowS: number): boolean =>
  key.nbf <= nowS && nowS < key.exp && (key.revoked_at === undefined || nowS < key.revoked_at);
