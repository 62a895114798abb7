import { existsSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { fault, isFault } from "../fault/fault.ts";
import { AgentIdSchema } from "../protocol/ids.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import { EpochMillisSchema, EpochSecondsSchema, LabelsSchema } from "../protocol/scalars.ts";
import {
  type Fingerprint,
  FingerprintSchema,
  type TrustDocument,
  TrustDocumentSchema,
} from "../protocol/trust.ts";
import { readSealingKey, readSigningKey, type SealingKey, type SigningKey } from "../trust/keys.ts";
import { readSmallFile, renameDurably, writeDurably } from "./durable-file.ts";

/** Number of the state formats this version writes. It reads this one and the two before it, once they exist. */
export const STATE_FORMAT = 1;

const AgentFileSchema = v.strictObject({
  format: v.literal(STATE_FORMAT),
  agent_id: AgentIdSchema,
  url: v.pipe(v.string(), v.url(), v.maxLength(2048)),
  activated_at: EpochMillisSchema,
  labels: LabelsSchema,
  /** Where the heartbeat chain began; the journal carries it from there. */
  chain: v.strictObject({ n: v.number(), nonce: v.string() }),
});
export type AgentFile = v.InferOutput<typeof AgentFileSchema>;

const BearerFileSchema = v.strictObject({
  format: v.literal(STATE_FORMAT),
  access_token: v.pipe(v.string(), v.maxLength(LIMITS.SMALL_JWS_BYTES)),
  expires_at_s: EpochSecondsSchema,
});
export type BearerFile = v.InferOutput<typeof BearerFileSchema>;

/** Paths of the named files of a state directory. */
export const statePaths = (stateDir: string) => ({
  agent: join(stateDir, "agent.json"),
  license: join(stateDir, "license.jwt"),
  fingerprint: join(stateDir, "fingerprint.json"),
  trust: join(stateDir, "trust.json"),
  quarantine: join(stateDir, "quarantine.jws"),
  terminal: join(stateDir, "terminal.jws"),
  seal: join(stateDir, "seal.jws"),
  nextSeal: join(stateDir, "seal.next.jws"),
  bearer: join(stateDir, "bearer.json"),
  journal: join(stateDir, "journal.db"),
  keypair: join(stateDir, "keypair"),
  identityKey: join(stateDir, "keypair", "identity.pem"),
  sealingKey: join(stateDir, "keypair", "sealing.pem"),
  nextIdentityKey: join(stateDir, "keypair", "identity.next.pem"),
  nextSealingKey: join(stateDir, "keypair", "sealing.next.pem"),
  work: join(stateDir, "work"),
  lock: join(stateDir, "work", "agent.lock"),
});

/** Reads one JSON state file; null when it is not there. */
function readJson<S extends v.GenericSchema>(path: string, schema: S): v.InferOutput<S> | null {
  const bytes = readSmallFile(path, LIMITS.TRUST_DOCUMENT_BYTES * 2);
  if (bytes === null) return null;
  const parsed = parseDocument(bytes, schema);
  if (parsed.ok) return parsed.value;
  const format = parseDocument(bytes, v.object({ format: v.number() }));
  if (format.ok && format.value.format > STATE_FORMAT) {
    throw fault("STATE_FORMAT_NEWER", { path, found: format.value.format, known: STATE_FORMAT });
  }
  throw fault("STATE_FILE_MALFORMED", { path, why: `${parsed.path}: ${parsed.why}` });
}

/** A JSON state file's text, the same for the same value. */
export const jsonText = (value: object): string => `${JSON.stringify(value, null, 2)}\n`;

const writeJson = (path: string, value: object) => writeDurably(path, jsonText(value));

export const readAgentFile = (dir: string): AgentFile | null =>
  readJson(statePaths(dir).agent, AgentFileSchema);
export const writeAgentFile = (dir: string, file: AgentFile): void => writeJson(statePaths(dir).agent, file);

export const readTrustFile = (dir: string): TrustDocument | null =>
  readJson(statePaths(dir).trust, TrustDocumentSchema);
export const writeTrustFile = (dir: string, document: TrustDocument): void =>
  writeJson(statePaths(dir).trust, document);

export const readFingerprintFile = (dir: string): Fingerprint | null =>
  readJson(statePaths(dir).fingerprint, FingerprintSchema);
export const writeFingerprintFile = (dir: string, fingerprint: Fingerprint): void =>
  writeJson(statePaths(dir).fingerprint, fingerprint);

/** The bearer token is a cache: anything unreadable in it, or in its place, counts as absent. */
export function readBearerFile(dir: string): BearerFile | null {
  try {
    return readJson(statePaths(dir).bearer, BearerFileSchema);
  } catch (error) {
    if (isFault(error)) return null;
    throw error;
  }
}
export const writeBearerFile = (dir: string, file: BearerFile): void =>
  writeJson(statePaths(dir).bearer, file);

export function readLicenseFile(dir: string): string | null {
  const bytes = readSmallFile(statePaths(dir).license, LIMITS.SMALL_JWS_BYTES);
  return bytes === null ? null : Buffer.from(bytes).toString("latin1").trim();
}
export const writeLicenseFile = (dir: string, text: string): void =>
  writeDurably(statePaths(dir).license, `${text}\n`);

/** The agent's own keys. Never regenerated in silence: a missing or broken file is KEYPAIR_INVALID. */
export interface KeyPair {
  readonly identity: SigningKey;
  readonly sealing: SealingKey;
}

/** Reads both keys in use, or the ones an unfinished activation made; null when neither is there. */
export async function readKeyPair(
  dir: string,
  which: "current" | "next" = "current",
): Promise<KeyPair | null> {
  const paths = statePaths(dir);
  const identityPath = which === "current" ? paths.identityKey : paths.nextIdentityKey;
  const identity = readPem(identityPath);
  // Next keys are made sealing key first and come into use in that order: an identity key that waits alone has its
  // partner in use already.
  const promoted = which === "next" && identity !== null && !existsSync(paths.nextSealingKey);
  const sealingPath = which === "current" || promoted ? paths.sealingKey : paths.nextSealingKey;
  const sealing = readPem(sealingPath);
  if (identity === null && sealing === null) return null;
  if (identity === null) throw fault("KEYPAIR_INVALID", { path: identityPath, why: "it is missing" });
  if (sealing === null) throw fault("KEYPAIR_INVALID", { path: sealingPath, why: "it is missing" });
  return {
    identity: await readSigningKey(identity, identityPath),
    sealing: await readSealingKey(sealing, sealingPath),
  };
}

/** The identity key in use by itself, whatever became of its partner; null when it is not there. */
export async function readIdentityKey(dir: string): Promise<SigningKey | null> {
  const { identityKey } = statePaths(dir);
  const pem = readPem(identityKey);
  return pem === null ? null : await readSigningKey(pem, identityKey);
}

/** The sealing key in use by itself; null when it is not there. */
export async function readSealingKeyFile(dir: string): Promise<SealingKey | null> {
  const { sealingKey } = statePaths(dir);
  const pem = readPem(sealingKey);
  return pem === null ? null : await readSealingKey(pem, sealingKey);
}

function readPem(path: string): string | null {
  const bytes = readSmallFile(path, 4096);
  return bytes === null ? null : Buffer.from(bytes).toString("latin1");
}

/**
 * Puts the sealing key that waits into use, then the identity key: an identity key that still waits says that the step is
 * not done (`readKeyPair` knows). Throws STATE_DIR_UNWRITABLE, STATE_DISK_FULL.
 */
export function promoteKeys(dir: string): void {
  if (!existsSync(statePaths(dir).nextIdentityKey)) return; // cut after this was done, or before both were made
  promoteSealingKey(dir);
  promoteIdentityKey(dir);
}

export function promoteSealingKey(dir: string): void {
  const { nextSealingKey, sealingKey } = statePaths(dir);
  if (existsSync(nextSealingKey)) renameDurably(nextSealingKey, sealingKey);
}

export function promoteIdentityKey(dir: string): void {
  const { nextIdentityKey, identityKey } = statePaths(dir);
  if (existsSync(nextIdentityKey)) renameDurably(nextIdentityKey, identityKey);
}
