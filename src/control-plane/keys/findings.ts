import type { KeyFinding } from "../../protocol/api-keys.ts";
import { KEY_USES, type TrustClaims } from "../../protocol/trust.ts";
import type { LedgerSummary } from "../data/ledger.ts";
import { coveredUntil, revoke, signingWindow } from "./rotation.ts";

const DAY_S = 86_400;
/** A person is asked so long before the end, time enough for a root key in a safe. */
const WARNED_S = 30 * DAY_S;

/**
 * What a person should do about the keys. Where the root's key is on the server the set renews itself, and only what that
 * did not bring about is told. Pure.
 */
export function findingsOf(
  claims: TrustClaims,
  rootHere: boolean,
  ledger: LedgerSummary,
  nowS: number,
): KeyFinding[] {
  const act = rootHere
    ? "look at the server's log for why it was not renewed"
    : "run keys request, keys sign, keys install";
  const findings: KeyFinding[] = [];
  const find = (code: string, text: string) => findings.push({ code, text: `${text}: ${act}` });
  if (nowS >= claims.exp) find("KEYS_TRUST_EXPIRED", `The key set expired on ${day(claims.exp)}`);
  else if (claims.exp - nowS < WARNED_S)
    find("KEYS_TRUST_EXPIRES", `The key set expires on ${day(claims.exp)}`);
  const keys = revoke(claims.keys, ledger.revokedKeys);
  for (const use of KEY_USES) {
    const until = coveredUntil(keys, use, nowS);
    if (signingWindow(keys, use, nowS) === null) find("KEYS_ENDED", `No ${use} key is valid any more`);
    else if (until - nowS < (rootHere ? DAY_S : WARNED_S)) {
      find("KEYS_END", `The last ${use} key ends on ${day(until)}`);
    }
  }
  const unsaid = keys.filter((key, index) => key !== claims.keys[index]);
  for (const { use, kid } of unsaid) {
    find("KEYS_REVOCATION_UNSIGNED", `The ${use} key ${kid} is revoked, and the key set does not say so`);
  }
  if (claims.seq < ledger.trustSeq) {
    find(
      "KEYS_SET_BEHIND",
      `Agents may know a key set up to number ${ledger.trustSeq}, this is number ${claims.seq}`,
    );
  }
  return findings;
}

const day = (seconds: number): string => new Date(seconds * 1000).toISOString().slice(0, 10);
