import { fault, isFault } from "../../fault/fault.ts";
import type { KeyRequest } from "../../protocol/api-keys.ts";
import { KEY_USES, type KeyUse, type TrustClaims, type TrustDocument, TYP } from "../../protocol/trust.ts";
import type { SigningKey } from "../../trust/keys.ts";
import { signJws } from "../../trust/sign-jws.ts";
import { openTrust, type TrustSet } from "../../trust/trust-set.ts";
import type { LedgerSummary } from "../data/ledger.ts";
import { SETTINGS } from "../settings.ts";
import type { KeyRing } from "./keyring.ts";
import { LIFE_S, revoke, signingWindow } from "./rotation.ts";

/**
 * Why the root should not sign this, or null. A server in other hands may ask for anything; what it cannot get is a key
 * that outlives the bounds every key set keeps. Pure.
 */
export function objectionTo({ claims }: KeyRequest): string | null {
  const { iat, exp, keys } = claims;
  if (exp <= iat || exp - iat > SETTINGS.TRUST_TTL_S) {
    return `the key set would live longer than ${SETTINGS.TRUST_TTL_S / 86_400} days`;
  }
  const long = keys.find((key) => key.exp <= key.nbf || key.exp - key.nbf > LIFE_S[key.use]);
  if (long !== undefined) {
    return `the ${long.use} key ${long.kid} would live longer than ${LIFE_S[long.use] / 86_400} days`;
  }
  const far = keys.find((key) => key.nbf > exp);
  if (far !== undefined) return `the ${far.use} key ${far.kid} would begin after the key set's end`;
  return null;
}

/** Signs what was asked for, exactly as it was asked. */
export const signRequest = async ({ claims }: KeyRequest, root: SigningKey): Promise<TrustDocument> => ({
  v: 1,
  root: root.jwk,
  trust: await signJws(TYP.trust, root, claims),
});

/**
 * Holds a key set that was signed elsewhere against the one in force: same root, same Control Plane, newer number, its
 * private halves here, and a key of every use now. Throws KEY_SET_REFUSED.
 */
export async function judgeInstall(
  document: TrustDocument,
  ring: KeyRing,
  ledger: LedgerSummary,
  nowS: number,
  keyAt: (use: KeyUse, kid: string) => Promise<SigningKey | null>,
): Promise<TrustSet> {
  const refuse = (why: string, cause?: unknown) => fault("KEY_SET_REFUSED", { why }, cause);
  if (document.root.x !== ring.root.jwk.x) throw refuse("another root signed it");
  let set: TrustSet;
  try {
    set = await openTrust(document, nowS);
  } catch (error) {
    if (isFault(error)) throw refuse(error.message, error);
    throw error;
  }
  const why = misfitOf(set.claims, ring.claims, ledger, nowS);
  if (why !== null) throw refuse(why);
  for (const { use, kid } of set.claims.keys) {
    const key = await keyAt(use, kid);
    if (key?.kid !== kid) throw refuse(`the private half of the ${use} key ${kid} is not here`);
  }
  return set;
}

function misfitOf(next: TrustClaims, known: TrustClaims, ledger: LedgerSummary, nowS: number): string | null {
  if (next.iss !== known.iss) return `it is of "${next.iss}"`;
  if (next.seq <= known.seq) return `its number ${next.seq} is not above ${known.seq}, the one in force`;
  if (next.seq < ledger.trustSeq) {
    return `its number ${next.seq} is below ${ledger.trustSeq}, which agents may know`;
  }
  if (next.enrol.kid !== known.enrol.kid || next.fp_salt !== known.fp_salt) {
    return "its enrolment key or its salt is another";
  }
  const keys = revoke(next.keys, ledger.revokedKeys);
  const unsaid = keys.find((key, index) => key !== next.keys[index]);
  if (unsaid !== undefined) return `it takes back the revocation of the ${unsaid.use} key ${unsaid.kid}`;
  const missing = KEY_USES.find((use) => signingWindow(keys, use, nowS) === null);
  return missing === undefined ? null : `it has no ${missing} key for now`;
}
