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

/** A successor is published so long before the end; more than the seven days agents are promised to learn of it. */
const OVERLAP_S = 10 * DAY_S;
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

/** What the key set needs at `nowS`: a key of every use that signs for long enough, no key that nobody needs. Pure. */
export function planRotation(claims: Pick<TrustClaims, "keys" | "exp"> | null, nowS: number): Rotation {
  const known = claims?.keys ?? [];
  const keep = known.filter((key) => nowS < key.exp + LIFE[key.use].keptS);
  const make = KEY_USES.filter(
    (use) => !keep.some((key) => key.use === use && usable(key, nowS) && key.exp - nowS > OVERLAP_S),
  ).map((use) => ({ use, nbf: nowS, exp: nowS + LIFE[use].signsS }));
  const old = claims === null || claims.exp - nowS < TRUST_RENEWED_S;
  return { keep, make, due: old || make.length > 0 || keep.length < known.length };
}

/** Which key signs at `nowS`: the one that ends first but not just yet, so that successors are known before they sign. */
export function signingWindow(keys: readonly KeyWindow[], use: KeyUse, nowS: number): KeyWindow | null {
  const candidates = keys.filter((key) => key.use === use && usable(key, nowS)).sort((a, b) => a.exp - b.exp);
  return candidates.find((key) => key.exp - nowS > LAST_S) ?? candidates.at(-1) ?? null;
}

const usable = (key: KeyWindow, nowS: number): boolean =>
  key.nbf <= nowS && nowS < key.exp && (key.revoked_at === undefined || nowS < key.revoked_at);
