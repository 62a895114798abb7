import type { KeyList, KeyView } from "../../protocol/api-keys.ts";
import { tokenThumbprint } from "../../trust/keys.ts";
import type { Ledger } from "../data/ledger.ts";
import type { KeySource } from "./keyring.ts";
import { type KeyWindow, revoke, signingWindow, signsUntil } from "./rotation.ts";

/** The keys as people look at them. */
export async function keyList(source: KeySource, ledger: Ledger, nowS: number): Promise<KeyList> {
  const { claims, root } = source.current();
  const keys = revoke(claims.keys, ledger.summary().revokedKeys);
  return {
    root: {
      thumbprint: root.kid,
      token_form: await tokenThumbprint(root.jwk),
      on_server: root.key !== null,
    },
    trust: { seq: claims.seq, iat: claims.iat, exp: claims.exp },
    keys: keys.map((key) => keyView(key, keys, nowS)),
    findings: source.findings(nowS),
  };
}

/** How one key of a set stands. Pure. */
export function keyView(key: KeyWindow, keys: readonly KeyWindow[], nowS: number): KeyView {
  const { use, kid, nbf, exp } = key;
  const signs = signingWindow(keys, use, nowS);
  const standing = standingOf(key, signs, nowS);
  return {
    use,
    kid,
    standing,
    nbf,
    exp,
    signs_until: standing === "signs" ? signsUntil(keys, key) : null,
    revoked_at: key.revoked_at ?? null,
  };
}

function standingOf(key: KeyWindow, signs: KeyWindow | null, nowS: number): KeyView["standing"] {
  if (key.revoked_at !== undefined) return "revoked";
  if (nowS >= key.exp) return "ended";
  if (key === signs) return "signs";
  return key.nbf > nowS || signs === null || key.exp > signs.exp ? "next" : "retired";
}
