import { FINGERPRINT_WEIGHTS } from "../protocol/fingerprint-weights.ts";
import { FINGERPRINT_COMPONENTS, type Fingerprint, type FingerprintComponent } from "../protocol/trust.ts";

/** What two fingerprints of one agent say about its machine. */
export interface FingerprintMatch {
  readonly verdict: "match" | "drift" | "mismatch";
  /** Matched ÷ enrolled weight over what is known now: 0 to 1, four decimals; 1 when there is nothing to compare. */
  readonly score: number;
  /** The rule that decided before the score was asked. */
  readonly rule: null | "tpm_changed" | "vm_clone";
  readonly changed: readonly FingerprintComponent[];
  /** Enrolled, and not there any more. */
  readonly lost: readonly FingerprintComponent[];
  /** There now and not known at enrolment: carries no weight until the agent is enrolled with it. */
  readonly enriched: readonly FingerprintComponent[];
}

const MATCH_FROM = 0.7;
const DRIFT_FROM = 0.45;

/**
 * Compares what was enrolled with what the machine shows now. `unknown` names components that are there and could not be
 * read: they speak neither for nor against. Rules before the score: another TPM is another machine; another product
 * UUID under the same machine id is a copied virtual machine.
 */
export function compareFingerprints(
  enrolled: Fingerprint,
  current: Fingerprint,
  unknown: readonly FingerprintComponent[],
): FingerprintMatch {
  const share = (name: FingerprintComponent) => likeness(enrolled.components[name], current.components[name]);
  const has = ({ components }: Fingerprint, name: FingerprintComponent) => components[name] !== undefined;
  const compared = FINGERPRINT_COMPONENTS.filter(
    (name) => has(enrolled, name) && (has(current, name) || !unknown.includes(name)),
  );
  const changed = compared.filter((name) => has(current, name) && share(name) < 1);
  const lost = compared.filter((name) => !has(current, name));
  const enriched = FINGERPRINT_COMPONENTS.filter((name) => !has(enrolled, name) && has(current, name));
  const weight = compared.reduce((sum, name) => sum + FINGERPRINT_WEIGHTS[name], 0);
  const matched = compared.reduce((sum, name) => sum + FINGERPRINT_WEIGHTS[name] * share(name), 0);
  const score = weight === 0 ? 1 : Math.round((matched / weight) * 10_000) / 10_000;
  const rule = ruleFor(changed, enrolled, current);
  return { verdict: verdictOf(rule, score), score, rule, changed, lost, enriched };
}

/** One line for people: which components differ, and how alike the rest leaves the two. */
export function differenceOf({ score, rule, changed, lost }: FingerprintMatch): string {
  const parts = [
    ...(rule === "vm_clone" ? ["a copy of the virtual machine"] : []),
    ...(rule === "tpm_changed" ? ["another TPM"] : []),
    ...(changed.length > 0 ? [`changed: ${changed.join(", ")}`] : []),
    ...(lost.length > 0 ? [`gone: ${lost.join(", ")}`] : []),
    `${Math.round(score * 100)} % alike`,
  ];
  return parts.join("; ");
}

function ruleFor(
  changed: readonly FingerprintComponent[],
  enrolled: Fingerprint,
  current: Fingerprint,
): FingerprintMatch["rule"] {
  if (changed.includes("tpm_ek")) return "tpm_changed";
  const { machine_id } = enrolled.components;
  const sameInstallation = machine_id !== undefined && machine_id === current.components.machine_id;
  return sameInstallation && changed.includes("product_uuid") ? "vm_clone" : null;
}

function verdictOf(rule: FingerprintMatch["rule"], score: number): FingerprintMatch["verdict"] {
  if (rule !== null) return "mismatch";
  if (score >= MATCH_FROM) return "match";
  return score >= DRIFT_FROM ? "drift" : "mismatch";
}

/** 1 for the same value, 0 for another or none; sets by the Jaccard index (size of the common ÷ of the united set). */
function likeness(
  enrolled: string | readonly string[] | undefined,
  current: string | readonly string[] | undefined,
): number {
  if (!Array.isArray(enrolled) || !Array.isArray(current)) return enrolled === current ? 1 : 0;
  const [before, now] = [new Set<string>(enrolled), new Set<string>(current)];
  const united = before.union(now).size;
  return united === 0 ? 1 : before.intersection(now).size / united;
}
