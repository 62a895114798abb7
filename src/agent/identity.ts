import { fault, invariant, isFault } from "../fault/fault.ts";
import { parseDocument } from "../protocol/json.ts";
import { type Fingerprint, type TrustDocument, TrustDocumentSchema } from "../protocol/trust.ts";
import { type SealingKey, type SigningKey, thumbprint } from "../trust/keys.ts";
import { type License, openKeptLicense, openLicense } from "../trust/license.ts";
import { allowedDigests } from "../trust/seal.ts";
import { openTrust, type TrustSet } from "../trust/trust-set.ts";
import type { Journal } from "./journal.ts";
import * as state from "./state-files.ts";
import { inspectUnbound, type SealVerdict, StateSeal } from "./state-seal.ts";
import { examineState } from "./state-seal-check.ts";

/** Who this agent is, as its state directory says and its signatures prove. */
export interface Identity {
  readonly file: state.AgentFile;
  readonly keys: state.KeyPair;
  readonly trust: TrustSet;
  readonly license: License;
  readonly fingerprint: Fingerprint;
}

/**
 * What is left of an identity whose files were tampered with: enough to tell the Control Plane so, and to believe what
 * it answers. The key set is one the sealed trust root has signed.
 */
export interface Remnant {
  readonly file: state.AgentFile;
  readonly identity: SigningKey;
  readonly trust: TrustSet;
  readonly sealing: SealingKey | null;
  readonly license: License | null;
  readonly fingerprint: Fingerprint | null;
}

/** How a state directory was found at the start of a process. */
export type Boot =
  | {
      readonly standing: "sound";
      readonly identity: Identity;
      readonly seal: StateSeal;
      readonly verdict: SealVerdict;
    }
  | {
      readonly standing: "tampered";
      /** Null when nothing can be told to anybody: no usable key, agent.json, or key set under the sealed root. */
      readonly remnant: Remnant | null;
      /** Null without a usable key and agent.json. */
      readonly seal: StateSeal | null;
      readonly verdict: SealVerdict;
    };

/**
 * Reads and checks the identity. License and trust in the journal are newer than the files when the agent stopped
 * between a reply and their writing. Throws STATE_INACTIVE, KEYPAIR_INVALID, TRUST_*, LICENSE_INVALID, STATE_FILE_*.
 */
export async function loadIdentity(
  stateDir: string,
  journal: Journal | null,
  nowS: number,
): Promise<Identity> {
  const file = state.readAgentFile(stateDir);
  if (file === null) throw fault("STATE_INACTIVE", { path: stateDir });
  const keys = await state.readKeyPair(stateDir);
  const paths = state.statePaths(stateDir);
  if (keys === null) throw fault("KEYPAIR_INVALID", { path: paths.identityKey, why: "it is missing" });
  const trust = await openTrust(trustDocument(stateDir, journal), nowS);
  const text = licenseText(stateDir, journal);
  if (text === null) throw fault("LICENSE_INVALID", { why: `"${paths.license}" is missing` });
  const license = await openKeptLicense(text, trust, { jkt: keys.identity.kid, agentId: file.agent_id });
  const fingerprint = state.readFingerprintFile(stateDir);
  if (fingerprint === null)
    throw fault("STATE_FILE_MALFORMED", { path: paths.fingerprint, why: "it is missing" });
  return { file, keys, trust, license, fingerprint };
}

/**
 * The identity as a process finds it that will not stop for a file that is wrong. `status` looks without ending a change
 * that was cut (`mode` "inspect"). Throws STATE_INACTIVE, and for a state directory nobody has touched, what
 * `loadIdentity` throws.
 */
export async function loadForBoot(
  stateDir: string,
  journal: Journal | null,
  nowS: number,
  mode: "check" | "inspect" = "check",
): Promise<Boot> {
  const file = readable(() => state.readAgentFile(stateDir));
  const key = await absorbed(() => state.readIdentityKey(stateDir));
  if (file === null && (await isInactive(stateDir, key))) throw fault("STATE_INACTIVE", { path: stateDir });
  const seal = file && key && StateSeal.open(stateDir, file.agent_id, key, journal);
  const verdict =
    seal === null ? await inspectUnbound(stateDir, file?.agent_id ?? null, key) : await seal[mode]();
  if (verdict.findings.length === 0) {
    const identity = await loadIdentity(stateDir, journal, nowS);
    invariant(seal !== null, "whoever has an identity has a seal");
    return { standing: "sound", identity, seal, verdict };
  }
  const remnant = file && key && (await remnantOf({ stateDir, journal, nowS, file, key, verdict }));
  return { standing: "tampered", remnant, seal, verdict };
}

interface Ruins {
  readonly stateDir: string;
  readonly journal: Journal | null;
  readonly nowS: number;
  readonly file: state.AgentFile;
  readonly key: SigningKey;
  readonly verdict: SealVerdict;
}

async function remnantOf({ stateDir, journal, nowS, file, key, verdict }: Ruins): Promise<Remnant | null> {
  const trust = await trustUnder(verdict.trustRoot, stateDir, journal, nowS);
  if (trust === null) return null;
  const text = readable(() => licenseText(stateDir, journal));
  const own = { jkt: key.kid, agentId: file.agent_id };
  return {
    file,
    identity: key,
    trust,
    sealing: await absorbed(() => state.readSealingKeyFile(stateDir)),
    license: text === null ? null : await absorbed(() => openLicense(text, trust, own)),
    fingerprint: readable(() => state.readFingerprintFile(stateDir)),
  };
}

/**
 * Without agent.json a host is inactive, unless the seal says that it should be there: an activation that was cut has
 * named it as about to come, or to go.
 */
async function isInactive(stateDir: string, key: SigningKey | null): Promise<boolean> {
  const { claims, scan, findings } = await examineState(stateDir, { agentId: null, key, atLeast: 0 });
  if (scan.sealed["agent.json"].state !== "absent") return false;
  if (findings.some(({ code }) => code === "SEAL_ABSENT")) return true;
  return claims !== null && allowedDigests(claims, "agent.json").includes(null);
}

/** The newest key set that the sealed root has signed, from journal or file; null when there is none. */
async function trustUnder(
  root: string | null,
  stateDir: string,
  journal: Journal | null,
  nowS: number,
): Promise<TrustSet | null> {
  const documents = [journalTrust(journal), readable(() => state.readTrustFile(stateDir))];
  for (const document of documents) {
    if (document === null || root === null || (await thumbprint(document.root)) !== root) continue;
    const trust = await absorbed(() => openTrust(document, nowS));
    if (trust !== null) return trust;
  }
  return null;
}

/** The newer of journal and file, as long as both name the root that activation pinned. */
function trustDocument(stateDir: string, journal: Journal | null): TrustDocument {
  const pinned = state.readTrustFile(stateDir);
  if (pinned === null) {
    throw fault("STATE_FILE_MALFORMED", { path: state.statePaths(stateDir).trust, why: "it is missing" });
  }
  const newer = journalTrust(journal);
  return newer?.root.x === pinned.root.x ? newer : pinned;
}

function journalTrust(journal: Journal | null): TrustDocument | null {
  const text = journal?.readMeta("trust") ?? null;
  const parsed = text === null ? null : parseDocument(text, TrustDocumentSchema);
  return parsed?.ok ? parsed.value : null;
}

const licenseText = (stateDir: string, journal: Journal | null): string | null =>
  journal?.readMeta("license") ?? state.readLicenseFile(stateDir);

/** What can be read; a fault is as good as absence here, for the seal's verdict names the file. */
function readable<T>(read: () => T | null): T | null {
  try {
    return read();
  } catch (error) {
    if (isFault(error)) return null;
    throw error;
  }
}

/** The same for what takes a key to read. */
async function absorbed<T>(read: () => Promise<T | null>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (isFault(error)) return null;
    throw error;
  }
}
