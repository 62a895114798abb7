import { isFault } from "../fault/fault.ts";
import { decodeBase64url } from "../protocol/base64url.ts";
import type { AgentId, Sha256 } from "../protocol/ids.ts";
import { parseDocument } from "../protocol/json.ts";
import type { SigningKey } from "../trust/keys.ts";
import {
  allowedDigests,
  openSeal,
  SEALED_NAMES,
  type SealClaims,
  SealClaimsSchema,
  type SealedName,
} from "../trust/seal.ts";
import {
  lookAt,
  NEXT_SEAL_NAME,
  type Scan,
  SEAL_NAME,
  type SealFinding,
  scanState,
} from "./state-seal-scan.ts";

/** Whose seal it has to be. */
export interface Sealer {
  /** Null while agent.json cannot be read: then whose id the seal names is not asked. */
  readonly agentId: AgentId | null;
  /** Null while the identity key cannot be used: then no seal can be believed. */
  readonly key: SigningKey | null;
  /** The highest number this process has seen. */
  readonly atLeast: number;
}

/** What the seal says, and what is wrong with the files. */
export interface Examination {
  /** Of the seal that holds; null when none does. */
  readonly claims: SealClaims | null;
  /** Under which name that seal lies. */
  readonly from: typeof SEAL_NAME | typeof NEXT_SEAL_NAME;
  readonly scan: Scan;
  /** Sealed files first, in their order, then the seal itself, then everything else. */
  readonly findings: readonly SealFinding[];
}

/** Files without which there is no agent, whatever a seal says of them. */
export const REQUIRED: readonly SealedName[] = [
  "license.jwt",
  "agent.json",
  "fingerprint.json",
  "trust.json",
  "keypair/identity.pem",
  "keypair/sealing.pem",
];

/** A change by a running agent may come between the seal and the files; another look tells it from meddling. */
const LOOKS_MAX = 3;

/** Holds the files of a state directory against its seal. Reads only; never throws on what lies there. */
export async function examineState(stateDir: string, sealer: Sealer): Promise<Examination> {
  const uid = process.getuid?.() ?? 0;
  for (let looks = 1; ; looks++) {
    const read = await readSeal(stateDir, sealer, uid);
    const scan = scanState(stateDir, uid);
    const seal = boundTo(read, scan, sealer.agentId);
    const findings = judge(seal, scan, sealer);
    const steady = findings.length === 0 || seal.text === sealText(stateDir, uid);
    if (steady || looks === LOOKS_MAX) return { claims: seal.claims, from: seal.from, scan, findings };
  }
}

/** The seal that counts for this key, read again by whoever is about to change it. */
export async function readSeal(stateDir: string, sealer: Sealer, uid: number): Promise<SealRead> {
  const look = lookAt(stateDir, SEAL_NAME, uid);
  const from = SEAL_NAME;
  if (look.state === "absent") {
    return { claims: null, hints: null, from, text: null, finding: ABSENT };
  }
  if (look.state === "unusable") {
    const { code, what } = look.complaint ?? UNREADABLE;
    return { claims: null, hints: null, from, text: null, finding: { code, name: SEAL_NAME, what } };
  }
  const text = textOf(look.bytes);
  const { key } = sealer;
  if (key === null) return { claims: null, hints: unproven(text), from, text, finding: null };
  try {
    const claims = await openSeal(text, key.jwk);
    if (claims.ctr < sealer.atLeast) return { claims: null, hints: null, from, text, finding: RETURNED };
    const finding = look.complaint && { name: SEAL_NAME, ...look.complaint };
    return { claims, hints: null, from, text, finding };
  } catch (error) {
    if (!isFault(error)) throw error;
    if (error.code !== "JWS_UNKNOWN_KEY") {
      const why = error.code === "JWS_BAD_SIGNATURE" ? "not signed as it stands" : "not a seal";
      return { claims: null, hints: null, from, text, finding: invalid(why) };
    }
    const next = await nextSeal(stateDir, key, uid);
    if (next !== null && next.ctr >= sealer.atLeast)
      return { claims: next, hints: null, from: NEXT_SEAL_NAME, text, finding: null };
    const finding = invalid("signed by another key");
    return { claims: null, hints: unproven(text), from, text, finding };
  }
}

export interface SealRead {
  readonly claims: SealClaims | null;
  /** What a seal that nobody can vouch for says: good for naming a file, for nothing else. */
  readonly hints: SealClaims | null;
  readonly from: Examination["from"];
  readonly text: string | null;
  readonly finding: SealFinding | null;
}

const ABSENT: SealFinding = { code: "SEAL_ABSENT", name: SEAL_NAME, what: "missing" };
const UNREADABLE = { code: "SEAL_INVALID", what: "unreadable" } as const;
const RETURNED: SealFinding = { code: "SEAL_INVALID", name: SEAL_NAME, what: "an older one" };
const invalid = (what: string): SealFinding => ({ code: "SEAL_INVALID", name: SEAL_NAME, what });

/** Our own seals end in one line break, which is no part of the text. */
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1").replace(/\n$/, "");

function sealText(stateDir: string, uid: number): string | null {
  const look = lookAt(stateDir, SEAL_NAME, uid);
  return look.state === "read" ? textOf(look.bytes) : null;
}

/**
 * A seal that names another agent holds only when it also says that agent.json is not as it was: then it is agent.json
 * that was exchanged.
 */
function boundTo(seal: SealRead, scan: Scan, agentId: AgentId | null): SealRead {
  const { claims } = seal;
  if (claims === null || agentId === null || claims.agent === agentId) return seal;
  const found = digestIn(scan, "agent.json");
  const exchanged = found !== undefined && !allowedDigests(claims, "agent.json").includes(found);
  const finding = invalid(`bound to another agent ("${claims.agent}")`);
  return exchanged ? seal : { ...seal, claims: null, finding };
}

/**
 * A move to a new identity key writes the new key's seal beside the old one, then puts the key in its place, then the
 * seal. Between the last two the key in use has signed only the seal that waits: that one counts then, and never else.
 */
async function nextSeal(stateDir: string, key: SigningKey, uid: number): Promise<SealClaims | null> {
  const look = lookAt(stateDir, NEXT_SEAL_NAME, uid);
  if (look.state !== "read" || look.complaint !== null) return null;
  try {
    return await openSeal(textOf(look.bytes), key.jwk);
  } catch (error) {
    if (isFault(error)) return null; // left over from a move that was given up, or nobody's
    throw error;
  }
}

/** The claims without a look at the signature. */
function unproven(text: string): SealClaims | null {
  const payload = decodeBase64url(text.split(".")[1] ?? "");
  const parsed = payload && parseDocument(payload, SealClaimsSchema);
  return parsed?.ok ? parsed.value : null;
}

function judge(seal: SealRead, scan: Scan, sealer: Sealer): SealFinding[] {
  // Another agent's seal says nothing about these files; one of this agent under another key tells which were changed.
  const hints = sealer.agentId !== null && seal.hints?.agent !== sealer.agentId ? null : seal.hints;
  const claims = seal.claims ?? hints;
  const sealed = SEALED_NAMES.flatMap((name): SealFinding[] => {
    const found = complaintOf(scan, claims, name) ?? keyComplaint(scan, sealer, name);
    return found === null ? [] : [{ name, ...found }];
  });
  return [...sealed, ...(seal.finding === null ? [] : [seal.finding]), ...scan.strays];
}

function complaintOf(
  scan: Scan,
  claims: SealClaims | null,
  name: SealedName,
): Pick<SealFinding, "code" | "what"> | null {
  const look = scan.sealed[name];
  if (look.state === "unusable") return look.complaint;
  const allowed = claims === null ? null : allowedDigests(claims, name);
  if (look.state === "absent") {
    const missing = allowed?.every((digest) => digest !== null) || REQUIRED.includes(name);
    const leaving = claims?.next?.[name] !== undefined && allowed?.includes(null);
    return missing && !leaving ? { code: "SEAL_MISSING", what: "missing" } : null;
  }
  if (allowed?.includes(look.sha256) ?? true) return look.complaint;
  return allowed?.every((digest) => digest === null)
    ? { code: "SEAL_UNEXPECTED", what: "not one the seal knows of" }
    : { code: "SEAL_MODIFIED", what: "modified" };
}

/** A key that cannot be used is wrong whatever an unproven seal says of it. */
function keyComplaint(
  scan: Scan,
  { key }: Sealer,
  name: SealedName,
): Pick<SealFinding, "code" | "what"> | null {
  if (name !== "keypair/identity.pem" || key !== null || scan.sealed[name].state !== "read") return null;
  return { code: "SEAL_MODIFIED", what: "not a usable key" };
}

/** The digest of a sealed file as it was found: null when it is not there, undefined when it could not be read. */
export function digestIn(scan: Scan, name: SealedName): Sha256 | null | undefined {
  const look = scan.sealed[name];
  if (look.state === "unusable") return undefined;
  return look.state === "absent" ? null : (look.sha256 ?? undefined);
}
