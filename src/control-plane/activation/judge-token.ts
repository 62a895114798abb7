import { type Fault, fault } from "../../fault/fault.ts";
import { sameSecret } from "../data/admin-key.ts";
import type { TokenRow } from "../store/schema.ts";

export type TokenVerdict =
  | { readonly verdict: "redeem" }
  /** The same key again, and its first heartbeat is still to come: it gets the same answer. */
  | { readonly verdict: "answer_again" }
  | { readonly verdict: "refuse"; readonly why: Fault };

/** Compared with when there is no such token, so that an unknown one takes as long as a wrong secret. */
const NO_SECRET = "0".repeat(64);

/**
 * Judges an attempt to redeem a token with a key. `secretSha256` is of the secret shown, `hasBeaten` whether the agent
 * the token made has had a heartbeat accepted. A wrong secret is answered as an unknown token. Pure.
 */
export function judgeToken(
  token: TokenRow | null,
  shown: { readonly secretSha256: string; readonly jkt: string },
  hasBeaten: boolean,
  nowMs: number,
): TokenVerdict {
  const right = sameSecret(token?.secret_sha256 ?? NO_SECRET, shown.secretSha256);
  if (token === null || !right) return refuse(fault("TOKEN_UNKNOWN"));
  if (token.revoked_at !== null) return refuse(fault("TOKEN_REVOKED"));
  if (token.redeemed_by !== null) {
    const mayAskAgain = token.redeemed_by === shown.jkt && !hasBeaten;
    return mayAskAgain ? { verdict: "answer_again" } : refuse(fault("TOKEN_USED"));
  }
  if (nowMs >= token.expires_at) {
    return refuse(fault("TOKEN_EXPIRED", { until: new Date(token.expires_at).toISOString() }));
  }
  return { verdict: "redeem" };
}

const refuse = (why: Fault): TokenVerdict => ({ verdict: "refuse", why });
