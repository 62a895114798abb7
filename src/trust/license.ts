import { fault } from "../fault/fault.ts";
import type { AgentId } from "../protocol/ids.ts";
import { LIMITS } from "../protocol/limits.ts";
import { type LicenseClaims, LicenseClaimsSchema, TYP } from "../protocol/trust.ts";
import { type JwsClass, openJws } from "./strict-jws.ts";
import type { TrustSet } from "./trust-set.ts";

const LICENSE: JwsClass<typeof LicenseClaimsSchema> = {
  what: "license",
  typ: TYP.license,
  maxBytes: LIMITS.SMALL_JWS_BYTES,
  schema: LicenseClaimsSchema,
};

/** A license whose signature, type and binding to this agent's key hold. Its time is judged by `licenseStanding`. */
export interface License {
  readonly claims: LicenseClaims;
  readonly text: string;
}

/**
 * Verifies a license JWT: signature by a license key of the set, type, issuer, and `cnf.jkt` equal to the own key.
 * The key's window is held against the license's own issue time, so that a rotated key's licenses live out their time.
 */
export async function openLicense(
  text: string,
  trust: TrustSet,
  own: { readonly jkt: string; readonly agentId: AgentId | null },
): Promise<License> {
  const { claims, header } = await openJws(text, LICENSE, (h) => anyWindow(trust, h.kid));
  // A revoked key signs nothing any more, whatever time its thief writes into the license.
  const revoked = trust.claims.keys.some((key) => key.kid === header.kid && key.revoked_at !== undefined);
  if (revoked) throw fault("LICENSE_INVALID", { why: "its key was revoked" });
  if (trust.keyFor("license", header.kid, claims.iat) === null) {
    throw fault("LICENSE_INVALID", { why: "it was signed outside its key's time" });
  }
  if (claims.iss !== trust.issuer) throw fault("LICENSE_INVALID", { why: "another Control Plane issued it" });
  if (claims.cnf.jkt !== own.jkt) throw fault("LICENSE_INVALID", { why: "it is bound to another key" });
  if (own.agentId !== null && claims.sub !== own.agentId) {
    throw fault("LICENSE_INVALID", { why: `it is for "${claims.sub}"` });
  }
  const { iat, nbf, exp } = claims;
  if (exp <= nbf || exp <= iat) throw fault("LICENSE_INVALID", { why: "it ends before it begins" });
  if (exp - iat > LIFETIME_MAX_S) throw fault("LICENSE_INVALID", { why: "it lives too long" });
  return { claims, text };
}

/** Licenses live thirty days; one for ten years is not the Control Plane's doing, whoever has its key. */
const LIFETIME_MAX_S = 366 * 86_400;

/** valid → in grace (the Control Plane could not renew it yet) → expired. */
export type LicenseStanding = "not_yet_valid" | "valid" | "grace" | "expired";

/** Where a license stands at `nowS`. */
export function licenseStanding(claims: LicenseClaims, nowS: number): LicenseStanding {
  if (nowS < Math.max(claims.iat, claims.nbf) - LIMITS.CLOCK_TOLERANCE_S) return "not_yet_valid";
  if (nowS < claims.exp) return "valid";
  return nowS < claims.exp + claims.offline_grace_s ? "grace" : "expired";
}

function anyWindow(trust: TrustSet, kid: string | undefined): CryptoKey | null {
  const row = trust.claims.keys.find((key) => key.use === "license" && key.kid === kid);
  return row === undefined ? null : trust.keyFor("license", kid, row.nbf);
}
