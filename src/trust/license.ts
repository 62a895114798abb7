import * as v from "valibot";
import { fault, isFault } from "../fault/fault.ts";
import { decodeBase64url } from "../protocol/base64url.ts";
import type { AgentId } from "../protocol/ids.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import { type LicenseClaims, LicenseClaimsSchema, TYP } from "../protocol/trust.ts";
import { importVerifyKey } from "./keys.ts";
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
  /** Nobody can say any more that its signature holds: its key is in the set no longer. */
  readonly unproven?: true;
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
  const { kid = "" } = header;
  // A revoked key signs nothing any more, whatever time its thief writes into the license.
  if (isRevoked(kid, trust)) throw fault("LICENSE_INVALID", { why: "its key was revoked" });
  if (trust.keyFor("license", kid, claims.iat) === null) {
    throw fault("LICENSE_INVALID", { why: "it was signed outside its key's time" });
  }
  return bound({ claims, text }, trust, own);
}

/**
 * Opens a license that was verified when it came and that the agent's own seal or journal has kept since, while its key
 * may have been revoked or have left the set: an agent that is held back hears of new keys, and of no new license. What
 * it may do under such a license is for `standingUnder` to say. Throws as `openLicense`.
 */
export async function openKeptLicense(
  text: string,
  trust: TrustSet,
  own: { readonly jkt: string; readonly agentId: AgentId | null },
): Promise<License> {
  try {
    return await openLicense(text, trust, own);
  } catch (error) {
    const kid = kidOf(text);
    const row = trust.claims.keys.find((key) => key.use === "license" && key.kid === kid);
    if (!isFault(error) || kid === null || (row !== undefined && row.revoked_at === undefined)) throw error;
    if (row === undefined) return bound({ claims: unproven(text), text, unproven: true }, trust, own);
    const key = await importVerifyKey(row.jwk);
    const { claims } = await openJws(text, LICENSE, () => key);
    return bound({ claims, text }, trust, own);
  }
}

function bound(
  license: License,
  trust: TrustSet,
  own: { readonly jkt: string; readonly agentId: AgentId | null },
): License {
  const { claims } = license;
  if (claims.iss !== trust.issuer) throw fault("LICENSE_INVALID", { why: "another Control Plane issued it" });
  if (claims.cnf.jkt !== own.jkt) throw fault("LICENSE_INVALID", { why: "it is bound to another key" });
  if (own.agentId !== null && claims.sub !== own.agentId) {
    throw fault("LICENSE_INVALID", { why: `it is for "${claims.sub}"` });
  }
  const { iat, nbf, exp } = claims;
  if (exp <= nbf || exp <= iat) throw fault("LICENSE_INVALID", { why: "it ends before it begins" });
  if (exp - iat > LIFETIME_MAX_S) throw fault("LICENSE_INVALID", { why: "it lives too long" });
  return license;
}

const isRevoked = (kid: string, { claims }: TrustSet): boolean =>
  claims.keys.some((key) => key.kid === kid && key.revoked_at !== undefined);

function kidOf(text: string): string | null {
  const header = decodeBase64url(text.split(".")[0] ?? "");
  const parsed = header && parseDocument(header, v.object({ kid: v.string() }));
  return parsed?.ok ? parsed.value.kid : null;
}

/** The claims without a look at the signature. */
function unproven(text: string): LicenseClaims {
  const payload = decodeBase64url(text.split(".")[1] ?? "");
  const parsed = payload && parseDocument(payload, LicenseClaimsSchema);
  if (parsed?.ok) return parsed.value;
  throw fault("LICENSE_INVALID", { why: "it cannot be read" });
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

/**
 * The same for a license kept over changes of the key set: invalid once its key is revoked, or when it cannot be proven.
 * The next answer of the Control Plane brings another.
 */
export function standingUnder(license: License, trust: TrustSet, nowS: number): LicenseStanding | "invalid" {
  const kid = kidOf(license.text);
  if (license.unproven || (kid !== null && isRevoked(kid, trust))) return "invalid";
  return licenseStanding(license.claims, nowS);
}

function anyWindow(trust: TrustSet, kid: string | undefined): CryptoKey | null {
  const row = trust.claims.keys.find((key) => key.use === "license" && key.kid === kid);
  return row === undefined ? null : trust.keyFor("license", kid, row.nbf);
}
