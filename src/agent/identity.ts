import { fault } from "../fault/fault.ts";
import { parseDocument } from "../protocol/json.ts";
import { type Fingerprint, TrustDocumentSchema } from "../protocol/trust.ts";
import { type License, openLicense } from "../trust/license.ts";
import { openTrust, type TrustSet } from "../trust/trust-set.ts";
import type { Journal } from "./journal.ts";
import * as state from "./state-files.ts";

/** Who this agent is, as its state directory says and its signatures prove. */
export interface Identity {
  readonly file: state.AgentFile;
  readonly keys: state.KeyPair;
  readonly trust: TrustSet;
  readonly license: License;
  readonly fingerprint: Fingerprint;
}

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
  const text = journal?.readMeta("license") ?? state.readLicenseFile(stateDir);
  if (text === null) throw fault("LICENSE_INVALID", { why: `"${paths.license}" is missing` });
  const license = await openLicense(text, trust, { jkt: keys.identity.kid, agentId: file.agent_id });
  const fingerprint = state.readFingerprintFile(stateDir);
  if (fingerprint === null)
    throw fault("STATE_FILE_MALFORMED", { path: paths.fingerprint, why: "it is missing" });
  return { file, keys, trust, license, fingerprint };
}

/** The newer of journal and file, as long as both name the root that activation pinned. */
function trustDocument(stateDir: string, journal: Journal | null) {
  const pinned = state.readTrustFile(stateDir);
  if (pinned === null) {
    throw fault("STATE_FILE_MALFORMED", { path: state.statePaths(stateDir).trust, why: "it is missing" });
  }
  const newer = journal?.readMeta("trust") ?? null;
  const parsed = newer === null ? null : parseDocument(newer, TrustDocumentSchema);
  return parsed?.ok && parsed.value.root.x === pinned.root.x ? parsed.value : pinned;
}
