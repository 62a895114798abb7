// What a simulated host can hold jobs to, and what its operator lets them do.

import { fault } from "../../src/fault/fault.ts";
import type { JobClaims } from "../../src/protocol/job.ts";
import { decide } from "../../src/scope/decide.ts";
import { type Policy, parsePolicy } from "../../src/scope/policy.ts";

export interface HostKind {
  /** bubblewrap is there and works. */
  readonly able: boolean;
  readonly limits: "cgroup" | "weak";
  readonly policyText: string;
  readonly policy: Policy;
}

const WEAK_ALLOWED =
  '[kinds]\nallow = ["test.run"]\n[commands]\nallow = "system"\n[limits]\nweak = "allow"\n';
const WEAK_REFUSED = '[kinds]\nallow = ["test.run"]\n[commands]\nallow = "system"\n';

function kind(able: boolean, limits: HostKind["limits"], policyText: string): HostKind {
  const parsed = parsePolicy(policyText);
  if (!parsed.ok) throw new Error(parsed.why);
  return { able, limits, policyText, policy: parsed.policy };
}

export const HOSTS = {
  whole: kind(true, "cgroup", WEAK_REFUSED),
  weakAllowed: kind(true, "weak", WEAK_ALLOWED),
  /** No cgroup holds memory and processes, and the policy does not put up with that. */
  weakRefused: kind(true, "weak", WEAK_REFUSED),
  withoutSandbox: kind(false, "cgroup", WEAK_ALLOWED),
} as const;

/** Whether the host may run the job, by what a person would say who knows both: held against what the product says. */
export const mayRun = (host: HostKind, asks: JobClaims["scope"]): boolean =>
  host.able && host !== HOSTS.weakRefused && asks.files.read.length === 0 && asks.hosts.length === 0;

/** The operator's policy, scope and host asked in one, as the program itself asks them. */
export function judgeOf(host: HostKind, claims: JobClaims) {
  if (!host.able) return { ok: false as const, why: fault("BWRAP_MISSING") };
  const decision = decide(claims, host.policy, { limits: host.limits, forbidden: [] });
  return decision.ok ? decision : { ok: false as const, why: decision.refusal.fault };
}
