import { randomBytes } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errnoOf, fault, invariant, reasonOf } from "../../fault/fault.ts";
import { decodeBase64url, encodeBase64url } from "../../protocol/base64url.ts";
import { newControlPlaneId, type RandomBytes } from "../../protocol/ids.ts";
import { parseDocument } from "../../protocol/json.ts";
import { LIMITS } from "../../protocol/limits.ts";
import {
  type KeyUse,
  type TrustClaims,
  type TrustDocument,
  TrustDocumentSchema,
  TYP,
} from "../../protocol/trust.ts";
import {
  makeSealingKey,
  makeSigningKey,
  readSealingKey,
  readSigningKey,
  type SealingKey,
  type SigningKey,
} from "../../trust/keys.ts";
import { signJws } from "../../trust/sign-jws.ts";
import { openTrust } from "../../trust/trust-set.ts";
import { readPrivateFile, syncDirectory, writeDurably } from "../data/durable-file.ts";
import { SETTINGS } from "../settings.ts";
import { type KeyWindow, planRotation, signingWindow } from "./rotation.ts";

/** Every key of the Control Plane, as of one key set. */
export interface KeyRing {
  readonly claims: TrustClaims;
  readonly document: TrustDocument;
  readonly root: SigningKey;
  readonly enrol: SealingKey;
  /** Makes and checks access tokens; shared by replicas, never shown to an agent. */
  readonly bearerSecret: Uint8Array;
  /** The key that signs for `use` at `nowS`. */
  signer(use: KeyUse, nowS: number): SigningKey;
}

/** The key ring in force. `renew` replaces it when windows near their end; what was handed out stays good. */
export interface KeySource {
  current(): KeyRing;
  /** Does what the windows ask for at `nowS`; true when something changed. */
  renew(nowS: number): Promise<boolean>;
}

const PEM_BYTES = 4096;
const SECRET_BYTES = 32;

/**
 * Opens the keys of a data directory and renews what is due. With `mayCreate` a missing directory is made, whole or not
 * at all; without, and for anything unreadable, throws CONTROL_KEY_UNUSABLE: keys are never replaced in silence.
 */
export async function openKeys(
  directory: string,
  options: { readonly mayCreate: boolean; readonly random: RandomBytes; readonly nowS: number },
): Promise<KeySource> {
  const { nowS, random } = options;
  if (!(await exists(directory))) {
    if (!options.mayCreate) {
      throw fault("CONTROL_KEY_UNUSABLE", { path: directory, why: "it is missing beside its database" });
    }
    await createKeys(directory, nowS, random);
  }
  let ring = await readRing(directory);
  const source: KeySource = {
    current: () => ring,
    renew: async (atS) => {
      if (!planRotation(ring.claims, atS).due) return false;
      await writeKeySet(directory, ring, atS);
      ring = await readRing(directory);
      return true;
    },
  };
  await source.renew(nowS);
  return source;
}

async function createKeys(directory: string, nowS: number, random: RandomBytes): Promise<void> {
  const workshop = `${directory}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    await mkdir(workshop, { mode: 0o700 });
    const root = await makeSigningKey();
    const enrol = await makeSealingKey();
    await writeDurably(join(workshop, "root.pem"), root.pem);
    await writeDurably(join(workshop, "enrol.pem"), enrol.pem);
    await writeDurably(join(workshop, "bearer.key"), encodeBase64url(random(SECRET_BYTES)));
    const fresh = { iss: newControlPlaneId(random), fp_salt: encodeBase64url(random(24)) };
    await writeKeySet(workshop, { root: root.key, enrol: enrol.key, claims: null, fresh }, nowS);
    await rename(workshop, directory);
    await syncDirectory(dirname(directory));
  } catch (error) {
    await rm(workshop, { recursive: true, force: true });
    throw fault("CONTROL_KEY_UNUSABLE", { path: directory, why: reasonOf(error) }, error);
  }
}

type KeySetInput =
  | { readonly root: SigningKey; readonly enrol: SealingKey; readonly claims: TrustClaims }
  | {
      readonly root: SigningKey;
      readonly enrol: SealingKey;
      readonly claims: null;
      readonly fresh: Pick<TrustClaims, "iss" | "fp_salt">;
    };

/** Makes the keys that are due and signs the next key set; new private keys are on disk before it names them. */
async function writeKeySet(directory: string, input: KeySetInput, nowS: number): Promise<void> {
  const { root, enrol, claims } = input;
  const { keep, make } = planRotation(claims, nowS);
  const made: KeyWindow[] = [];
  for (const { use, nbf, exp } of make) {
    const { key, pem } = await makeSigningKey();
    await writeDurably(keyPath(directory, use, key.kid), pem);
    made.push({ use, kid: key.kid, jwk: key.jwk, nbf, exp });
  }
  const { iss, fp_salt } = claims === null ? input.fresh : claims;
  const next: TrustClaims = {
    v: 1,
    iss,
    seq: (claims?.seq ?? 0) + 1,
    iat: nowS,
    exp: nowS + SETTINGS.TRUST_TTL_S,
    keys: [...keep, ...made],
    enrol: { kid: enrol.kid, jwk: enrol.jwk },
    fp_salt,
  };
  const document: TrustDocument = { v: 1, root: root.jwk, trust: await signJws(TYP.trust, root, next) };
  await writeDurably(join(directory, "trust.json"), JSON.stringify(document));
}

async function readRing(directory: string): Promise<KeyRing> {
  const document = await readDocument(join(directory, "trust.json"));
  // Judged at no particular time: an expired key set of a server that was off is renewed, not refused.
  const { claims } = await openTrust(document, 0);
  const root = await signingKeyAt(join(directory, "root.pem"));
  if (root.jwk.x !== document.root.x) {
    throw fault("CONTROL_KEY_UNUSABLE", { path: directory, why: "root.pem did not sign trust.json" });
  }
  const enrolPath = join(directory, "enrol.pem");
  const enrol = await asKeyFault(enrolPath, async () => readSealingKey(await pemAt(enrolPath), enrolPath));
  const signers = new Map<string, SigningKey>();
  for (const { use, kid } of claims.keys) {
    const path = keyPath(directory, use, kid);
    const key = await signingKeyAt(path);
    if (key.kid !== kid) throw fault("CONTROL_KEY_UNUSABLE", { path, why: "it holds another key" });
    signers.set(kid, key);
  }
  return {
    claims,
    document,
    root,
    enrol,
    bearerSecret: await readSecret(join(directory, "bearer.key")),
    signer: (use, nowS) => {
      const key = signers.get(signingWindow(claims.keys, use, nowS)?.kid ?? "");
      invariant(key !== undefined, `there is a ${use} key for now`);
      return key;
    },
  };
}

const keyPath = (directory: string, use: KeyUse, kid: string): string => join(directory, `${use}-${kid}.pem`);

async function readDocument(path: string): Promise<TrustDocument> {
  const parsed = parseDocument(await bytesAt(path, LIMITS.TRUST_DOCUMENT_BYTES), TrustDocumentSchema);
  if (parsed.ok) return parsed.value;
  throw fault("CONTROL_KEY_UNUSABLE", { path, why: `${parsed.path}: ${parsed.why}` });
}

async function readSecret(path: string): Promise<Uint8Array> {
  const secret = decodeBase64url(new TextDecoder().decode(await bytesAt(path, 256)).trim());
  if (secret?.length === SECRET_BYTES) return secret;
  throw fault("CONTROL_KEY_UNUSABLE", { path, why: `it does not hold ${SECRET_BYTES} bytes` });
}

const signingKeyAt = (path: string): Promise<SigningKey> =>
  asKeyFault(path, async () => readSigningKey(await pemAt(path), path));

const pemAt = async (path: string): Promise<string> =>
  new TextDecoder().decode(await bytesAt(path, PEM_BYTES));

async function bytesAt(path: string, maxBytes: number): Promise<Uint8Array> {
  const file = await readPrivateFile(path, maxBytes);
  if (file.found) return file.bytes;
  throw fault("CONTROL_KEY_UNUSABLE", { path, why: file.why });
}

async function asKeyFault<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fault("CONTROL_KEY_UNUSABLE", { path, why: reasonOf(error) }, error);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await (await open(path, "r")).close();
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw fault("CONTROL_KEY_UNUSABLE", { path, why: reasonOf(error) }, error);
  }
}
