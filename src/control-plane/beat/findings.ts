import { type AnomalyKind, QUARANTINING } from "../../protocol/api.ts";
import { LIMITS } from "../../protocol/limits.ts";
import type { Fingerprint, FingerprintComponent } from "../../protocol/trust.ts";
import type { BeatRequest } from "../../protocol/wire.ts";
import { compareFingerprints, differenceOf, type FingerprintMatch } from "../../trust/fingerprint-match.ts";
import type { BeatInput } from "./beat-input.ts";
import type { ChainVerdict } from "./chain.ts";

/** One thing that is wrong, with its evidence. */
export interface BeatFinding {
  readonly kind: AnomalyKind;
  readonly evidence: Readonly<Record<string, unknown>> & { readonly what: string };
}

/** What the server knows of the agent, to hold a beat against. */
export interface KnownState {
  /** JSON of the enrolled fingerprint, as the row keeps it. */
  readonly fingerprint: string;
  readonly sealCtr: number;
  readonly headSeq: number;
  readonly head: string | null;
}

export interface Examination {
  readonly findings: readonly BeatFinding[];
  /** Components the machine shows now and did not at enrolment, to be taken in; empty unless it is the same machine. */
  readonly enriched: readonly FingerprintComponent[];
}

/** An agent whose clock is this far off is about to be refused; that is said before it happens. */
const SKEW_TOLD_MS = (LIMITS.CLOCK_TOLERANCE_S * 1000) / 2;

/** Holds what a beat in its right place says of machine, state and program against what is known. Pure. */
export function examine(request: BeatRequest, known: KnownState): Examination {
  const match = fingerprintMatch(request, known);
  const findings = [
    match === null ? null : fingerprintFinding(match, request),
    sealFinding(request, known),
    selfQuarantine(request, match),
    tamperedFinding(request),
    bundleFinding(request),
    clockFinding(request),
  ].filter((finding) => finding !== null);
  return { findings, enriched: match?.verdict === "match" ? match.enriched : [] };
}

/** The first finding, if any, that stops the agent's work. */
export const quarantiningOf = (findings: readonly BeatFinding[]): BeatFinding | null =>
  findings.find(({ kind }) => QUARANTINING.includes(kind)) ?? null;

/** Null when the fingerprint is the enrolled one to the letter, as it nearly always is. */
function fingerprintMatch(request: BeatRequest, known: KnownState): FingerprintMatch | null {
  if (JSON.stringify(request.fingerprint) === known.fingerprint) return null;
  const enrolled = JSON.parse(known.fingerprint) as Fingerprint;
  return compareFingerprints(enrolled, request.fingerprint, request.fingerprint_unknown);
}

function fingerprintFinding(match: FingerprintMatch, { fingerprint, beat }: BeatRequest): BeatFinding | null {
  if (match.verdict === "match") return null;
  const kind = match.verdict === "mismatch" ? "fingerprint_mismatch" : "fingerprint_drift";
  const { score, rule, changed, lost } = match;
  const what = `the machine is not quite the enrolled one: ${differenceOf(match)}`;
  return { kind, evidence: { what, score, rule, changed, lost, shown: fingerprint.id, inst: beat.inst } };
}

/** Numbers that only grow have shrunk: an older copy of the state speaks. */
function sealFinding({ seal, beat }: BeatRequest, known: KnownState): BeatFinding | null {
  if (seal === null) return null;
  const told = { ctr: seal.ctr, head_seq: seal.head_seq, head: seal.head };
  const before = { ctr: known.sealCtr, head_seq: known.headSeq, head: known.head };
  const found = (what: string): BeatFinding => ({
    kind: "seal_rollback",
    evidence: { what, told, known: before, inst: beat.inst },
  });
  if (seal.ctr < known.sealCtr) {
    return found(`its state files are sealed under number ${seal.ctr}; ${known.sealCtr} was told before`);
  }
  if (seal.head_seq < known.headSeq) {
    return found(`its receipt chain ends at ${seal.head_seq}; ${known.headSeq} was told before`);
  }
  const another = seal.head_seq === known.headSeq && known.head !== null && seal.head !== known.head;
  return another ? found(`its receipt ${seal.head_seq} is another than the one told before`) : null;
}

/** It has stopped by itself. Only an admin's order starts it again, and that is given to quarantined agents alone. */
function selfQuarantine({ agent, beat }: BeatRequest, match: FingerprintMatch | null): BeatFinding | null {
  if (agent.state !== "quarantined" || match?.verdict === "mismatch") return null;
  const what = "it has quarantined itself, for a reason in its own log";
  return { kind: "self_quarantined", evidence: { what, inst: beat.inst } };
}

function tamperedFinding({ agent, integrity, seal }: BeatRequest): BeatFinding | null {
  if (integrity.length === 0 && agent.state !== "tampered") return null;
  const files = integrity.map(({ code, name }) => `${name} (${code})`);
  const what = `its state files are not as it sealed them: ${files.slice(0, 4).join(", ") || "it does not say which"}`;
  return { kind: "tampered", evidence: { what, files, seal: seal?.ctr ?? null } };
}

function bundleFinding({ agent }: BeatRequest): BeatFinding | null {
  if (agent.bundle !== "unverified") return null;
  const what = `its program ${agent.version} is not one that a release signed`;
  return { kind: "bundle_mismatch", evidence: { what, version: agent.version } };
}

function clockFinding({ clock }: BeatRequest): BeatFinding | null {
  const { offset_ms } = clock;
  if (offset_ms === null || Math.abs(offset_ms) <= SKEW_TOLD_MS) return null;
  return skewFinding(Math.round(Math.abs(offset_ms) / 1000));
}

export const skewFinding = (seconds: number): BeatFinding => ({
  kind: "clock_skew",
  evidence: { what: `its clock is ${seconds} s away from this server's`, seconds },
});

/** Which anomaly a beat out of its chain is. */
export function chainFinding(
  verdict: Extract<ChainVerdict, { verdict: "anomaly" }>,
  { request, iatS, address }: BeatInput,
  expected: Readonly<Record<string, unknown>>,
): BeatFinding {
  const { n, inst, boot, rid } = request.beat;
  const { hostname } = request.host;
  const shown = { n, inst, rid, boot, hostname, address, iat: iatS, fingerprint: request.fingerprint.id };
  return {
    kind: KIND_OF[verdict.kind],
    evidence: { what: verdict.why, sign: verdict.kind, shown, expected },
  };
}

const KIND_OF = {
  superseded_instance: "clone",
  revoked_nonce: "clone",
  stale_nonce: "stale_nonce",
  beat_ahead: "server_rollback",
} as const satisfies Record<string, AnomalyKind>;
