import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Fault, fault, isFault } from "../fault/fault.ts";
import { type ActivationToken, parseActivationToken } from "../protocol/activation-token.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import { type Fingerprint, type TrustDocument, TrustDocumentSchema } from "../protocol/trust.ts";
import { type ActivateReply, ActivateReplySchema, type ActivateSealed, ROUTES } from "../protocol/wire.ts";
import { makeSealingKey, makeSigningKey } from "../trust/keys.ts";
import { type License, licenseStanding, openLicense } from "../trust/license.ts";
import { makeProof, newNonce } from "../trust/proof.ts";
import { seal } from "../trust/sealed-box.ts";
import { openTrust, pinTrust, type TrustSet } from "../trust/trust-set.ts";
import type { Clock, Random } from "./clock.ts";
import type { Directories } from "./directories.ts";
import { ensurePrivateDirectory, syncDirectory, writeDurably, writeFault } from "./durable-file.ts";
import { Journal } from "./journal.ts";
import { takeLock } from "./lock.ts";
import * as state from "./state-files.ts";
import { refusalOf, type Transport } from "./transport.ts";

export interface ActivationInput {
  readonly url: string;
  /** The token as it was pasted. */
  readonly token: string;
  readonly force: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly dirs: Directories;
  readonly version: string;
  readonly hostname: string;
}

export interface ActivationDeps {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  /** The host's fingerprint under the Control Plane's salt. */
  readonly fingerprint: (salt: string) => Fingerprint;
}

export interface ActivationResult {
  readonly agent_id: string;
  readonly control_plane: string;
  readonly url: string;
  readonly license: License["claims"];
  readonly slot: ActivateReply["slot"];
}

/**
 * Redeems an activation token. Order: the token's own checksum, the URL, the state directory and its lock, the trust
 * root the token pins, keys on disk, then the sealed request. A refusal leaves the host as it was. Once the license is
 * good, agent.json of an older life goes first and the new one is written last: cut anywhere in between, the host is
 * inactive, never half one agent and half another, and the same token makes it whole.
 */
export async function activate(input: ActivationInput, deps: ActivationDeps): Promise<ActivationResult> {
  const token = parseActivationToken(input.token);
  if ("why" in token) throw fault("TOKEN_MALFORMED", { why: token.why });
  const url = controlPlaneUrl(input.url);
  const { stateDir } = input.dirs;
  ensurePrivateDirectory(stateDir);
  ensurePrivateDirectory(state.statePaths(stateDir).work);
  using _lock = takeLock(state.statePaths(stateDir).lock, stateDir);
  const before = readBefore(stateDir, input.force);
  if (before?.file && !input.force) await refuseWhenActive(input, before.file, deps);

  const trust = await fetchTrust(url, token, deps);
  const keys = await keysFor(stateDir, before !== null);
  const fingerprint = deps.fingerprint(trust.claims.fp_salt);
  const reply = await redeem({ url, token, trust, keys, fingerprint, input }, deps);
  const license = await openLicense(reply.license, trust, {
    jkt: keys.identity.kid,
    agentId: reply.agent_id,
  });
  requireInForce(license, deps.clock.wallMs());
  putOldLifeAside(stateDir, before?.file?.agent_id ?? String(deps.clock.wallMs()));
  promoteKeys(stateDir);
  state.writeTrustFile(stateDir, trust.document);
  state.writeFingerprintFile(stateDir, fingerprint);
  state.writeLicenseFile(stateDir, reply.license);
  state.writeAgentFile(stateDir, {
    format: state.STATE_FORMAT,
    agent_id: reply.agent_id,
    url,
    activated_at: deps.clock.wallMs(),
    labels: { ...input.labels },
    chain: reply.beat,
  });
  return {
    agent_id: reply.agent_id,
    control_plane: trust.issuer,
    url,
    license: license.claims,
    slot: reply.slot,
  };
}

/** The Control Plane's URL as this agent keeps it: https, or http to a loopback address; no credentials, no query. */
export function controlPlaneUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const refuse = (why: string) => fault("WIRE_INSECURE_URL", { url: text, why });
  if (url === null) throw refuse("it is not a URL");
  if (url.username !== "" || url.password !== "") throw refuse("it holds credentials");
  if (url.search !== "" || url.hash !== "") throw refuse("it has a query or a fragment");
  const loopback =
    /^127\.\d+\.\d+\.\d+$/.test(url.hostname) || url.hostname === "[::1]" || url.hostname === "localhost";
  if (url.protocol !== "https:" && !(url.protocol === "http:" && loopback)) {
    throw refuse("it is neither https nor a loopback address");
  }
  if (url.pathname !== "/") throw refuse("it has a path; the Control Plane is a whole origin");
  return url.href;
}

/** What says that this host is an agent already. With --force an agent.json nobody can read is replaced like any other. */
function readBefore(stateDir: string, force: boolean): { readonly file: state.AgentFile | null } | null {
  try {
    const file = state.readAgentFile(stateDir);
    return file && { file };
  } catch (error) {
    if (force && isFault(error, "STATE_FILE_MALFORMED")) return { file: null };
    throw error;
  }
}

async function refuseWhenActive(
  input: ActivationInput,
  before: state.AgentFile,
  deps: ActivationDeps,
): Promise<void> {
  const { stateDir } = input.dirs;
  const document = state.readTrustFile(stateDir);
  const text = state.readLicenseFile(stateDir);
  const keys = await state.readKeyPair(stateDir);
  if (!document || !text || !keys) return;
  const nowS = Math.floor(deps.clock.wallMs() / 1000);
  let license: License;
  try {
    license = await openLicense(text, await openTrust(document, nowS), {
      jkt: keys.identity.kid,
      agentId: before.agent_id,
    });
  } catch (error) {
    if (isFault(error)) return; // a license that does not verify protects nothing
    throw error;
  }
  const standing = licenseStanding(license.claims, nowS);
  if (standing === "expired") return;
  const until = new Date(license.claims.exp * 1000).toISOString();
  throw fault("STATE_ALREADY_ACTIVE", { agent: before.agent_id, until });
}

async function fetchTrust(url: string, token: ActivationToken, deps: ActivationDeps): Promise<TrustSet> {
  const target = new URL(ROUTES.trust, url).href;
  const reply = await deps.transport({
    method: "GET",
    url: target,
    headers: {},
    maxReplyBytes: LIMITS.TRUST_DOCUMENT_BYTES,
    accept: "application/json",
  });
  const document = parseDocument(reply.body, TrustDocumentSchema);
  if (!document.ok)
    throw fault("WIRE_REPLY_MALFORMED", { url: target, why: `${document.path}: ${document.why}` });
  return await pinned(document.value, token, url, deps);
}

const pinned = (document: TrustDocument, token: ActivationToken, url: string, deps: ActivationDeps) =>
  pinTrust(document, token.rootThumbprint, url, Math.floor(deps.clock.wallMs() / 1000));

/**
 * Keys are on disk, beside those in use, before the token is spent: a refused token leaves an active agent as it was,
 * and a lost reply is asked for again with the same keys, which the server answers alike.
 */
async function keysFor(stateDir: string, wasActive: boolean): Promise<state.KeyPair> {
  ensurePrivateDirectory(state.statePaths(stateDir).keypair);
  syncDirectory(stateDir);
  const unfinished =
    (await usableKeys(stateDir, "next")) ?? (wasActive ? null : await usableKeys(stateDir, "current"));
  if (unfinished) return unfinished;
  const identity = await makeSigningKey();
  const sealing = await makeSealingKey();
  const paths = state.statePaths(stateDir);
  writeDurably(paths.nextSealingKey, sealing.pem);
  writeDurably(paths.nextIdentityKey, identity.pem);
  return { identity: identity.key, sealing: sealing.key };
}

async function usableKeys(stateDir: string, which: "current" | "next"): Promise<state.KeyPair | null> {
  try {
    return await state.readKeyPair(stateDir, which);
  } catch (error) {
    if (isFault(error, "KEYPAIR_INVALID")) return null; // half-made by a crash before any token was spent
    throw error;
  }
}

interface Redemption {
  readonly url: string;
  readonly token: ActivationToken;
  readonly trust: TrustSet;
  readonly keys: state.KeyPair;
  readonly fingerprint: Fingerprint;
  readonly input: ActivationInput;
}

async function redeem(redemption: Redemption, deps: ActivationDeps): Promise<ActivateReply> {
  const { trust, keys, token, input } = redemption;
  const target = new URL(ROUTES.activate, redemption.url).href;
  const plain: ActivateSealed = {
    v: 1,
    secret: token.secret,
    fingerprint: redemption.fingerprint,
    identity_jwk: keys.identity.jwk,
    sealing_jwk: keys.sealing.jwk,
    version: input.version,
    hostname: input.hostname,
    labels: { ...input.labels },
  };
  const sealed = await seal(new TextEncoder().encode(JSON.stringify(plain)), trust.claims.enrol);
  const body = new TextEncoder().encode(JSON.stringify({ v: 1, token_id: token.id, sealed }));
  const reply = await sendProven(target, body, keys, deps);
  const parsed = parseDocument(reply.body, ActivateReplySchema);
  if (!parsed.ok) throw fault("WIRE_REPLY_MALFORMED", { url: target, why: `${parsed.path}: ${parsed.why}` });
  return parsed.value;
}

/** Sends with a DPoP proof; once more when the server asks for its nonce. */
async function sendProven(target: string, body: Uint8Array, keys: state.KeyPair, deps: ActivationDeps) {
  const once = async (nonce: string | undefined) =>
    await deps.transport({
      method: "POST",
      url: target,
      headers: {
        "content-type": "application/json",
        dpop: await makeProof(keys.identity, {
          method: "POST",
          url: target,
          body,
          ...(nonce === undefined ? {} : { nonce }),
          jti: newNonce(deps.random),
          nowS: Math.floor(deps.clock.wallMs() / 1000),
        }),
      },
      body,
      maxReplyBytes: LIMITS.ACTIVATE_BODY_BYTES,
      accept: "application/json",
    });
  try {
    return await once(undefined);
  } catch (error) {
    const refusal = isFault(error) ? refusalOf(error) : null;
    const nonce = refusal?.headers.get("dpop-nonce") ?? undefined;
    if (refusal?.problem !== "USE_DPOP_NONCE" || nonce === undefined) throw clockTold(error, deps);
    try {
      return await once(nonce);
    } catch (second) {
      throw clockTold(second, deps);
    }
  }
}

const SKEW_TOLD_MS = 30_000;

function clockTold(error: unknown, deps: ActivationDeps): unknown {
  const refusal = isFault(error) ? refusalOf(error) : null;
  const offset = Date.parse(refusal?.headers.get("date") ?? "") - deps.clock.wallMs();
  if (refusal?.problem !== "DPOP_INVALID" || !(Math.abs(offset) >= SKEW_TOLD_MS)) return error;
  return fault("WIRE_CLOCK_SKEW", { seconds: Math.round(Math.abs(offset) / 1000) }, error as Fault);
}

function requireInForce({ claims }: License, nowMs: number): void {
  const standing = licenseStanding(claims, Math.floor(nowMs / 1000));
  if (standing === "valid") return;
  const time = (seconds: number) => new Date(seconds * 1000).toISOString();
  const why =
    standing === "not_yet_valid"
      ? `it begins at ${time(claims.nbf)} and this host's clock says ${time(nowMs / 1000)}`
      : `it ended at ${time(claims.exp)} and this host's clock says ${time(nowMs / 1000)}`;
  throw fault("LICENSE_INVALID", { why });
}

/** A new identity starts with an empty journal and no bearer; an older one's journal is kept under `name`. */
function putOldLifeAside(stateDir: string, name: string): void {
  const paths = state.statePaths(stateDir);
  try {
    rmSync(paths.agent, { force: true });
    syncDirectory(stateDir);
    rmSync(paths.bearer, { force: true });
    if (!existsSync(paths.journal)) return;
    gatherJournal(paths.journal);
    for (const suffix of ["-wal", "-shm", ""]) {
      const from = `${paths.journal}${suffix}`;
      if (existsSync(from)) renameSync(from, join(paths.work, `journal-${name}.db${suffix}`));
    }
    syncDirectory(paths.work);
    syncDirectory(stateDir);
  } catch (error) {
    throw isFault(error) ? error : writeFault(paths.agent, error);
  }
}

/** Brings a journal into its one file; a damaged one is kept in as many as it has. */
function gatherJournal(path: string): void {
  try {
    Journal.open(path).close();
  } catch (error) {
    if (!isFault(error)) throw error;
  }
}

/** Sealing key first: an identity key that still waits says that the step is not done (`readKeyPair` knows). */
function promoteKeys(stateDir: string): void {
  const paths = state.statePaths(stateDir);
  if (!existsSync(paths.nextIdentityKey)) return; // a first try that was cut after this point
  try {
    if (existsSync(paths.nextSealingKey)) {
      renameSync(paths.nextSealingKey, paths.sealingKey);
      syncDirectory(paths.keypair);
    }
    renameSync(paths.nextIdentityKey, paths.identityKey);
    syncDirectory(paths.keypair);
  } catch (error) {
    throw writeFault(paths.identityKey, error);
  }
}
