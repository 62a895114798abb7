import { randomBytes } from "node:crypto";
import { mkdir, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { fault, invariant, reasonOf } from "../../fault/fault.ts";
import type { KeyFinding, KeyRequest } from "../../protocol/api-keys.ts";
import { encodeBase64url } from "../../protocol/base64url.ts";
import { newControlPlaneId, type RandomBytes } from "../../protocol/ids.ts";
import type { Ed25519Jwk } from "../../protocol/scalars.ts";
import { type KeyUse, type TrustClaims, type TrustDocument, TYP } from "../../protocol/trust.ts";
import {
  makeSealingKey,
  makeSigningKey,
  type SealingKey,
  type SigningKey,
  thumbprint,
} from "../../trust/keys.ts";
import { signJws } from "../../trust/sign-jws.ts";
import { openTrust, type TrustSet } from "../../trust/trust-set.ts";
import { syncDirectory, writeDurably } from "../data/durable-file.ts";
import type { Ledger } from "../data/ledger.ts";
import { SETTINGS } from "../settings.ts";
import { findingsOf } from "./findings.ts";
import * as files from "./key-files.ts";
import { keyPaths } from "./key-files.ts";
import { judgeInstall } from "./key-request.ts";
import { type KeyWindow, planRotation, retire, revoke, signingWindow } from "./rotation.ts";

/** Every key of the Control Plane, as of one key set. */
export interface KeyRing {
  readonly claims: TrustClaims;
  readonly document: TrustDocument;
  /** The same set as agents see it, at whatever time. */
  readonly trust: TrustSet;
  readonly root: RootKey;
  readonly enrol: SealingKey;
  /** Makes and checks access tokens; shared by replicas, never shown to an agent. */
  readonly bearerSecret: Uint8Array;
  /** The key that signs for `use` at `nowS`. Throws CONTROL_KEYS_EXPIRED. */
  signer(use: KeyUse, nowS: number): SigningKey;
}

export interface RootKey {
  readonly jwk: Ed25519Jwk;
  readonly kid: string;
  /** Null when it is kept off this server. */
  readonly key: SigningKey | null;
}

/** Changes to the key set that a person asked for. */
export interface KeyChange {
  /** Uses whose keys get successors. */
  readonly rotate: readonly KeyUse[];
  /** The successors sign at once. */
  readonly atOnce: boolean;
  /** Ids of keys that are good for nothing from now on. */
  readonly revoke: readonly string[];
}

/** The key ring in force. Changes replace it; what was handed out stays good. One change is made at a time. */
export interface KeySource {
  current(): KeyRing;
  /** What a person should do about the keys at `nowS`. */
  findings(nowS: number): KeyFinding[];
  /** Does what the windows ask for at `nowS`, as far as it can without the root's key; true when something changed. */
  renew(nowS: number): Promise<boolean>;
  /** Makes successors, revokes, and signs the key set that says so. Throws CONTROL_ROOT_ABSENT, KEY_*. */
  change(change: KeyChange, reason: string, nowS: number): Promise<void>;
  /** Makes the keys of the next key set, and answers what the root has to sign. Throws CONTROL_ROOT_PRESENT, KEY_*. */
  request(change: KeyChange, nowS: number): Promise<KeyRequest>;
  /** Takes a key set that was signed elsewhere. Throws CONTROL_ROOT_PRESENT, KEY_SET_REFUSED. */
  install(document: TrustDocument, nowS: number): Promise<void>;
  /** Every key set there was, the oldest first: they prove licenses whose keys have left the set. */
  history(): Promise<TrustDocument[]>;
}

export interface KeyOptions {
  readonly mayCreate: boolean;
  readonly random: RandomBytes;
  readonly nowS: number;
  readonly ledger: Ledger;
}

/**
 * Opens the keys of a data directory and renews what is due. With `mayCreate` a missing directory is made, whole or not
 * at all; without, and for anything unreadable, throws CONTROL_KEY_UNUSABLE: keys are never replaced in silence.
 */
export async function openKeys(directory: string, options: KeyOptions): Promise<KeySource> {
  const { ledger, nowS, random } = options;
  if (!(await files.exists(directory))) {
    if (!options.mayCreate) {
      throw fault("CONTROL_KEY_UNUSABLE", { path: directory, why: "it is missing beside its database" });
    }
    await createKeys(directory, { nowS, random, ledger, rootKey: null });
  }
  const source = new KeyDirectory(directory, ledger, await readRing(directory, ledger));
  await source.renew(nowS);
  return source;
}

/**
 * Makes the directory of the keys, whole or not at all. With `rootKey` that key is the trust root and does not come into
 * the directory. Throws CONTROL_KEY_UNUSABLE.
 */
export async function createKeys(
  directory: string,
  made: Pick<KeyOptions, "nowS" | "random" | "ledger"> & { readonly rootKey: SigningKey | null },
): Promise<void> {
  const { nowS, random, ledger, rootKey } = made;
  const workshop = `${directory}.${randomBytes(6).toString("hex")}.tmp`;
  const paths = keyPaths(workshop);
  try {
    await mkdir(workshop, { mode: 0o700 });
    const own = rootKey === null ? await makeSigningKey() : null;
    if (own !== null) await writeDurably(paths.root, own.pem);
    const root = rootKey ?? own?.key;
    invariant(root !== undefined, "there is a root");
    const enrol = await makeSealingKey();
    await writeDurably(paths.enrol, enrol.pem);
    await writeDurably(paths.bearer, encodeBase64url(random(files.SECRET_BYTES)));
    const plan = planRotation(null, nowS, horizonOf(rootKey === null));
    const claims: TrustClaims = {
      ...frame(0, ledger, nowS),
      iss: newControlPlaneId(random),
      keys: await makeKeys(workshop, plan.make),
      enrol: { kid: enrol.key.kid, jwk: enrol.key.jwk },
      fp_salt: encodeBase64url(random(24)),
    };
    await publish(workshop, await signSet(root, claims), claims, ledger);
    await rename(workshop, directory);
    await syncDirectory(dirname(directory));
  } catch (error) {
    await rm(workshop, { recursive: true, force: true });
    throw fault("CONTROL_KEY_UNUSABLE", { path: directory, why: reasonOf(error) }, error);
  }
}

/** Without the root's key here, there are keys for as long as a key set lives; with it they are made as they are due. */
const horizonOf = (rootHere: boolean): number | undefined => (rootHere ? undefined : SETTINGS.TRUST_TTL_S);

/** So many keys a set holds at most, and so many when a person asks for another: what is due must never be kept out. */
const SIGNED_MAX = 64;
const ASKED_MAX = 48;

class KeyDirectory implements KeySource {
  private readonly directory: string;
  private readonly ledger: Ledger;
  private ring: KeyRing;
  private turn: Promise<unknown> = Promise.resolve();

  constructor(directory: string, ledger: Ledger, ring: KeyRing) {
    this.directory = directory;
    this.ledger = ledger;
    this.ring = ring;
  }

  current(): KeyRing {
    return this.ring;
  }

  findings(nowS: number): KeyFinding[] {
    return findingsOf(this.ring.claims, this.ring.root.key !== null, this.ledger.summary(), nowS);
  }

  renew(nowS: number): Promise<boolean> {
    return this.inTurn(async () => {
      const { root, claims } = this.ring;
      const keys = this.keysAfter(NO_CHANGE, nowS);
      const unsaid = keys.some((key, index) => key !== claims.keys[index]);
      const behind = claims.seq < this.ledger.summary().trustSeq;
      const { due } = planRotation({ keys, exp: claims.exp }, nowS);
      if (root.key === null || !(due || unsaid || behind)) return false;
      await this.writeSet(root.key, await this.nextClaims(keys, nowS, SIGNED_MAX));
      return true;
    });
  }

  change(change: KeyChange, reason: string, nowS: number): Promise<void> {
    return this.inTurn(async () => {
      const root = this.ring.root.key;
      if (root === null) throw fault("CONTROL_ROOT_ABSENT");
      const keys = this.keysAfter(change, nowS);
      const claims = await this.nextClaims(keys, nowS, ASKED_MAX);
      this.noteRevoked(keys, reason, nowS);
      await this.writeSet(root, claims);
    });
  }

  request(change: KeyChange, nowS: number): Promise<KeyRequest> {
    return this.inTurn(async () => {
      const { claims, root } = this.ring;
      if (root.key !== null) throw fault("CONTROL_ROOT_PRESENT");
      const keys = this.keysAfter(change, nowS);
      const next = await this.nextClaims(keys, nowS, SIGNED_MAX);
      const kept = new Set([...claims.keys, ...next.keys].map(({ kid }) => kid));
      await files.pruneSigningKeys(this.directory, kept);
      return { v: 1, format: "agentina-key-request", root: root.kid, claims: next };
    });
  }

  install(document: TrustDocument, nowS: number): Promise<void> {
    return this.inTurn(async () => {
      if (this.ring.root.key !== null) throw fault("CONTROL_ROOT_PRESENT");
      const { claims } = await judgeInstall(document, this.ring, this.ledger.summary(), nowS, (use, kid) =>
        files.signingKeyIfThere(keyPaths(this.directory).of(use, kid)),
      );
      this.noteRevoked(claims.keys, "installed as revoked", nowS);
      await this.put(document, claims);
    });
  }

  history(): Promise<TrustDocument[]> {
    return files.readHistory(this.directory);
  }

  /** The keys as the ledger and the change want them. */
  private keysAfter(change: KeyChange, nowS: number): KeyWindow[] {
    const { keys } = this.ring.claims;
    for (const kid of change.revoke) {
      if (!keys.some((key) => key.kid === kid)) throw fault("KEY_UNKNOWN", { kid });
    }
    const asked = new Map(change.revoke.map((kid) => [kid, nowS]));
    const revoked = revoke(revoke(keys, this.ledger.summary().revokedKeys), asked);
    return retire(revoked, change.rotate, nowS, change.atOnce);
  }

  /** Revocations are in the ledger before any key set says so: a crash in between is made good at the next start. */
  private noteRevoked(keys: readonly KeyWindow[], reason: string, nowS: number): void {
    const known = this.ledger.summary().revokedKeys;
    for (const { use, kid, revoked_at } of keys) {
      if (revoked_at === undefined || known.has(kid)) continue;
      this.ledger.append({ type: "key_revoked", use, kid, revoked_at, reason }, nowS * 1000);
    }
  }

  private async writeSet(root: SigningKey, claims: TrustClaims): Promise<void> {
    await this.put(await signSet(root, claims), claims);
  }

  private async put(document: TrustDocument, claims: TrustClaims): Promise<void> {
    await publish(this.directory, document, claims, this.ledger);
    this.ring = await readRing(this.directory, this.ledger);
    await files.pruneSigningKeys(this.directory, new Set(claims.keys.map(({ kid }) => kid)));
  }

  private async nextClaims(keys: readonly KeyWindow[], nowS: number, max: number): Promise<TrustClaims> {
    const { claims, root } = this.ring;
    const { keep, make } = planRotation({ keys, exp: claims.exp }, nowS, horizonOf(root.key !== null));
    if (keep.length + make.length > max) throw fault("KEY_SET_FULL", { max });
    const made = await makeKeys(this.directory, make);
    return { ...claims, ...frame(claims.seq, this.ledger, nowS), keys: [...keep, ...made] };
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.turn.then(work);
    this.turn = done.catch(() => undefined); // whoever asked for it is told; the next one starts all the same
    return done;
  }
}

const NO_CHANGE: KeyChange = { rotate: [], atOnce: false, revoke: [] };

/** Number and times of the set that follows `seq`, above every number that was ever given. */
const frame = (seq: number, ledger: Ledger, nowS: number) =>
  ({
    v: 1,
    seq: Math.max(seq, ledger.summary().trustSeq) + 1,
    iat: nowS,
    exp: nowS + SETTINGS.TRUST_TTL_S,
  }) as const;

async function makeKeys(
  directory: string,
  windows: readonly Pick<KeyWindow, "use" | "nbf" | "exp">[],
): Promise<KeyWindow[]> {
  const made: KeyWindow[] = [];
  for (const { use, nbf, exp } of windows) {
    const { key, pem } = await makeSigningKey();
    await files.writeSigningKey(directory, use, key.kid, pem);
    made.push({ use, kid: key.kid, jwk: key.jwk, nbf, exp });
  }
  return made;
}

const signSet = async (root: SigningKey, claims: TrustClaims): Promise<TrustDocument> => ({
  v: 1,
  root: root.jwk,
  trust: await signJws(TYP.trust, root, claims),
});

/** The number is in the ledger before anybody can see the set: a restored server never gives it again. */
async function publish(
  directory: string,
  document: TrustDocument,
  { seq, iat }: TrustClaims,
  ledger: Ledger,
): Promise<void> {
  if (seq > ledger.summary().trustSeq) ledger.append({ type: "trust", seq }, iat * 1000);
  await files.writeHistory(directory, seq, document);
  await writeDurably(keyPaths(directory).trust, JSON.stringify(document));
}

/** Reads the keys of a directory as they are. Throws CONTROL_KEY_UNUSABLE. */
export async function readRing(directory: string, ledger: Ledger): Promise<KeyRing> {
  const paths = keyPaths(directory);
  const document = await files.readTrustDocument(paths.trust);
  // Judged at no particular time: an expired key set of a server that was off is renewed, not refused.
  const trust = await openTrust(document, 0);
  const { claims } = trust;
  const root = await files.signingKeyIfThere(paths.root);
  if (root !== null && root.jwk.x !== document.root.x) {
    throw fault("CONTROL_KEY_UNUSABLE", { path: directory, why: "root.pem did not sign trust.json" });
  }
  const signers = new Map<string, SigningKey>();
  for (const { use, kid } of claims.keys) {
    const path = paths.of(use, kid);
    const key = await files.signingKeyAt(path);
    if (key.kid !== kid) throw fault("CONTROL_KEY_UNUSABLE", { path, why: "it holds another key" });
    signers.set(kid, key);
  }
  return {
    claims,
    document,
    trust,
    root: { jwk: document.root, kid: await thumbprint(document.root), key: root },
    enrol: await files.sealingKeyAt(paths.enrol),
    bearerSecret: await files.readSecret(paths.bearer),
    signer: (use, nowS) => {
      // A revocation counts from the moment it is in the ledger, whether or not the root has signed it.
      const keys = revoke(claims.keys, ledger.summary().revokedKeys);
      const key = signers.get(signingWindow(keys, use, nowS)?.kid ?? "");
      if (key === undefined) throw fault("CONTROL_KEYS_EXPIRED", { use });
      return key;
    },
  };
}
