import type { Plan } from "../../protocol/api.ts";
import { enrolledWeight, WEAK_BELOW } from "../../protocol/fingerprint-weights.ts";
import type { AccountId, AgentId, LicenseId } from "../../protocol/ids.ts";
import { type Fingerprint, type LicenseClaims, TYP } from "../../protocol/trust.ts";
import { signJws } from "../../trust/sign-jws.ts";
import type { KeyRing } from "../keys/keyring.ts";
import { SETTINGS } from "../settings.ts";
import type { AgentRow } from "../store/schema.ts";

/** Whom a license is for; what stays the same each time it is renewed. */
export interface Licensee {
  readonly accountId: AccountId;
  readonly agentId: AgentId;
  readonly lic: LicenseId;
  readonly jkt: string;
  readonly epoch: number;
  readonly fingerprint: Fingerprint;
}

interface IssuedLicense {
  readonly text: string;
  /** Seconds. */
  readonly iat: number;
  readonly exp: number;
  readonly terms: string;
  readonly weak: boolean;
}

/** Signs a license for 30 days on the terms of `plan`. */
export async function issueLicense(
  licensee: Licensee,
  plan: Plan,
  ring: KeyRing,
  at: { readonly nowS: number; readonly jti: string; readonly era: number },
): Promise<IssuedLicense> {
  const { nowS } = at;
  const weak = enrolledWeight(licensee.fingerprint) < WEAK_BELOW;
  const exp = nowS + SETTINGS.LICENSE_TTL_S;
  const claims: LicenseClaims = {
    iss: ring.claims.iss,
    sub: licensee.agentId,
    aud: "agentina",
    jti: at.jti,
    lic: licensee.lic,
    tenant: licensee.accountId,
    plan: plan.name,
    max_agents: plan.max_agents,
    max_concurrent_tasks_per_agent: plan.max_concurrent_tasks_per_agent,
    kinds: [...plan.kinds],
    fp: licensee.fingerprint,
    weak,
    cnf: { jkt: licensee.jkt },
    epoch: licensee.epoch,
    era: at.era,
    iat: nowS,
    nbf: nowS,
    exp,
    offline_grace_s: SETTINGS.LICENSE_GRACE_S,
  };
  const text = await signJws(TYP.license, ring.signer("license", nowS), claims);
  return { text, iat: nowS, exp, terms: termsOf(plan), weak };
}

/** Terms no plan has: an agent whose row says so gets a new license with its next heartbeat. */
export const LICENSE_STALE = "";

/** The plan's terms as the license carries them, for telling whether they changed. */
const termsOf = ({ name, max_agents, max_concurrent_tasks_per_agent, kinds }: Plan): string =>
  JSON.stringify([name, max_agents, max_concurrent_tasks_per_agent, kinds]);

/** True when an agent's license is past half its life or names other terms than the plan. */
export function renewalDue(
  { license_iat, license_exp, license_terms }: LicenseColumns,
  plan: Plan,
  nowS: number,
): boolean {
  return license_terms !== termsOf(plan) || nowS > license_iat + (license_exp - license_iat) / 2;
}

/** Signs an agent's license anew, on the terms of today's plan; the license number stays. */
export async function renewLicense(
  agent: AgentRow,
  plan: Plan,
  ring: KeyRing,
  at: { readonly nowS: number; readonly jti: string; readonly era: number },
): Promise<LicenseColumns> {
  const licensee: Licensee = {
    accountId: agent.account_id,
    agentId: agent.id,
    lic: agent.lic as LicenseId,
    jkt: agent.jkt,
    epoch: agent.epoch,
    fingerprint: JSON.parse(agent.fingerprint) as Fingerprint,
  };
  return licenseColumns(await issueLicense(licensee, plan, ring, at));
}

type LicenseColumns = Pick<AgentRow, "license" | "license_terms" | "license_iat" | "license_exp" | "weak">;

/** A license as an agent's row keeps it. */
export const licenseColumns = ({ text, terms, iat, exp, weak }: IssuedLicense): LicenseColumns => ({
  license: text,
  license_terms: terms,
  license_iat: iat,
  license_exp: exp,
  weak: weak ? 1 : 0,
});
