import { fault } from "../fault/fault.ts";
import type { ControlPlaneId } from "../protocol/ids.ts";
import { LIMITS } from "../protocol/limits.ts";
import {
  type KeyUse,
  type TrustClaims,
  TrustClaimsSchema,
  type TrustDocument,
  TYP,
} from "../protocol/trust.ts";
import { importVerifyKey, thumbprint, tokenThumbprint } from "./keys.ts";
import { type JwsClass, openJws } from "./strict-jws.ts";

/** The Control Plane's keys as this process trusts them: verified under a pinned root. */
export interface TrustSet {
  readonly issuer: ControlPlaneId;
  readonly claims: TrustClaims;
  readonly document: TrustDocument;
  /**
   * The key `kid` if it may sign for `use` at `nowS` (window, not revoked), else null. What the set says is revoked
   * already is so whatever this host's clock says.
   */
  keyFor(use: KeyUse, kid: string | undefined, nowS: number): CryptoKey | null;
}

const TRUST: JwsClass<typeof TrustClaimsSchema> = {
  what: "key set",
  typ: TYP.trust,
  maxBytes: LIMITS.TRUST_DOCUMENT_BYTES,
  schema: TrustClaimsSchema,
};

/** Verifies a trust document under its own root, after the caller has pinned that root. */
export async function openTrust(document: TrustDocument, nowS: number): Promise<TrustSet> {
  const rootKid = await thumbprint(document.root);
  const rootKey = await importVerifyKey(document.root);
  const { claims } = await openJws(document.trust, TRUST, (h) => (h.kid === rootKid ? rootKey : null));
  if (claims.exp <= claims.iat || claims.exp - claims.iat > LIMITS.TRUST_LIFETIME_S) {
    const why = `must be at most ${LIMITS.TRUST_LIFETIME_S} seconds after iat`;
    throw fault("JWS_WRONG_CLAIMS", { what: TRUST.what, path: "exp", why });
  }
  if (claims.exp + LIMITS.CLOCK_TOLERANCE_S <= nowS) {
    throw fault("TRUST_EXPIRED", { until: new Date(claims.exp * 1000).toISOString() });
  }
  const keys = await Promise.all(
    claims.keys.map(async (row) => ({
      ...row,
      key: await importVerifyKey(row.jwk),
      print: await thumbprint(row.jwk),
    })),
  );
  const misnamed = keys.find((row) => row.kid !== row.print);
  if (misnamed) throw malformed(`the key "${misnamed.kid}" is not what its id says`);
  const twice = keys.find(({ kid }, index) => keys.findIndex((row) => row.kid === kid) < index);
  if (twice) throw malformed(`the key "${twice.kid}" stands in it twice`);
  return {
    issuer: claims.iss,
    claims,
    document,
    keyFor: (use, kid, atS) => {
      const row = keys.find((candidate) => candidate.use === use && candidate.kid === kid);
      if (!row || atS < row.nbf - LIMITS.CLOCK_TOLERANCE_S || atS >= row.exp + LIMITS.CLOCK_TOLERANCE_S)
        return null;
      const revoked = row.revoked_at !== undefined && Math.max(atS, claims.iat) >= row.revoked_at;
      return revoked ? null : row.key;
    },
  };
}

const malformed = (why: string) => fault("JWS_MALFORMED", { what: TRUST.what, why });

/** Pins the root by the thumbprint in an activation token, then verifies. Throws TRUST_ROOT_MISMATCH. */
export async function pinTrust(
  document: TrustDocument,
  rootThumbprint: string,
  url: string,
  nowS: number,
): Promise<TrustSet> {
  if ((await tokenThumbprint(document.root)) !== rootThumbprint) throw fault("TRUST_ROOT_MISMATCH", { url });
  return await openTrust(document, nowS);
}

/**
 * Accepts a newer document from the same root for the same Control Plane; an older number is a rollback. One with the
 * number of the set in force changes nothing: that set stays.
 */
export async function renewTrust(known: TrustSet, document: TrustDocument, nowS: number): Promise<TrustSet> {
  if (document.root.x !== known.document.root.x)
    throw fault("TRUST_ROOT_MISMATCH", { url: "the heartbeat reply" });
  const next = await openTrust(document, nowS);
  if (next.claims.seq < known.claims.seq) {
    throw fault("TRUST_ROLLED_BACK", { found: next.claims.seq, known: known.claims.seq });
  }
  if (next.issuer !== known.issuer) throw malformed(`it is of "${next.issuer}", not of "${known.issuer}"`);
  return next.claims.seq === known.claims.seq ? known : next;
}
