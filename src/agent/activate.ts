import { existsSync, lstatSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Fault, fault, isFault } from "../fault/fault.ts";
import { type ActivationToken, parseActivationToken } from "../protocol/activation-token.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import { type Fingerprint, type TrustDocument, TrustDocumentSchema } from "../protocol/trust.ts";
import { type ActivateReply, ActivateReplySchema, type ActivateSealed, ROUTES } from "../protocol/wire.ts";
import { makeSealingKey, makeSigningKey, thumbprint } from "../trust/keys.ts";
import { type License, licenseStanding, openLicense } from "../trust/license.ts";
import { makeProof, newNonce } from "../trust/proof.ts";
import { seal } from "../trust/sealed-box.ts";
import { openTrust, pinTrust, type TrustSet } from "../trust/trust-set.ts";
import type { Clock, Random } from "./clock.ts";
import type { Directories } from "./directories.ts";
import {
  ensurePrivateDirectory,
  removeDurably,
  renameDurably,
  syncDirectory,
  writeDurably,
  writeFault,
} from "./durable-file.ts";
import { Journal } from "./journal.ts";
import { takeLock } from "./lock.ts";
import { standing } from "./standing.ts";
import * as state from "./state-files.ts";
import { StateSeal } from "./state-seal.ts";
import { scanState } from "./state-seal-scan.ts";
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
 * good, agent.json of an older life goes first and the new one is written last, each under a seal that says so: cut
 * anywhere in between, the host is inactive, never half one agent and half another, never tampered with, and the same
 * token makes it whole.
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
  refuseWhenCluttered(stateDir);

  const trust = await fetchTrust(url, token, deps);
  const keys = await keysFor(stateDir, before !== null);
  const fingerprint = deps.fingerprint(trust.claims.fp_salt);
  const reply = await redeem({ url, token, trust, keys, fingerprint, input }, deps);
  const license = await openLicense(reply.license, trust, {
    jkt: keys.identity.kid,
    agentId: reply.agent_id,
  });
  requireInForce(license, deps.clock.wallMs());
  await putOldLifeAside(stateDir, before?.file ?? null, deps.clock.wallMs());
  state.promoteKeys(stateDir);
  const file: state.AgentFile = {
    format: state.STATE_FORMAT,
    agent_id: reply.agent_id,
    url,
    activated_at: deps.clock.wallMs(),
    labels: { ...input.labels },
    chain: reply.beat,
  };
  const trustRoot = await thumbprint(trust.document.root);
  await StateSeal.first(
    stateDir,
    { id: reply.agent_id, key: keys.identity, trustRoot },
    {
      "trust.json": state.jsonText(trust.document),
      "fingerprint.json": state.jsonText(fingerprint),
      "license.jwt": `${reply.license}\n`,
      "agent.json": state.jsonText(file),
    },
  );
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
  if (isOver(stateDir)) return;
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

/** An agent that the Control Plane ended, or that is quarantined: nothing is lost when another takes its place. */
function isOver(stateDir: string): boolean {
  const paths = state.statePaths(stateDir);
  if (existsSync(paths.terminal) || existsSync(paths.quarantine)) return true;
  if (!existsSync(paths.journal)) return false;
  let journal: Journal | null = null;
  try {
    journal = Journal.open(paths.journal, "read");
    // Recovering from a quarantine takes its entry out of the journal, so that any that is there is in force.
    return standing.end(journal) !== null || standing.quarantine(journal, 0) !== null;
  } catch (error) {
    if (isFault(error)) return false; // a journal that cannot be read says nothing; the license decides
    throw error;
  } finally {
    journal?.close();
  }
}

/** What is not the agent's would be found at every start: it is told before a token is spent on such a directory. */
function refuseWhenCluttered(stateDir: string): void {
  const { strays } = scanState(stateDir, process.getuid?.() ?? 0);
  const found = strays.find(
    ({ name, code }) => !REPLACED.test(name) && !(name === "keypair" && code !== "SEAL_OPEN"),
  );
  if (found) throw fault("STATE_DIR_CLUTTERED", { path: stateDir, name: found.name, what: found.what });
}

/** Whatever lies under these names goes aside with the older life. */
const REPLACED = /^(journal\.db|bearer\.json|seal\.next\.jws)/;

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

/** A new identity starts with an empty journal and no bearer; what is left of an older one is kept below work/. */
async function putOldLifeAside(
  stateDir: string,
  former: state.AgentFile | null,
  nowMs: number,
): Promise<void> {
  const paths = state.statePaths(stateDir);
  const name = former?.agent_id ?? String(nowMs);
  const aside = (kind: string, suffix: string) => join(paths.work, `${kind}-${name}.${suffix}`);
  try {
    await takeLeave(stateDir, former, aside("seal", "jws"));
    rmSync(paths.bearer, { force: true });
    rmSync(paths.nextSeal, { force: true });
    keepAs(paths.quarantine, aside("quarantine", "jws"));
    keepAs(paths.terminal, aside("terminal", "jws"));
    keepAs(paths.seal, aside("seal", "jws"));
    if (lstatSync(paths.journal, { throwIfNoEntry: false })?.isFile()) gatherJournal(paths.journal);
    for (const suffix of ["-wal", "-shm", ""]) {
      keepAs(`${paths.journal}${suffix}`, aside("journal", `db${suffix}`));
    }
    syncDirectory(paths.work);
    syncDirectory(stateDir);
  } catch (error) {
    throw isFault(error) ? error : writeFault(paths.agent, error);
  }
}

/**
 * Removes the older agent.json: under its own seal, so that a crash between the two leaves an agent or none, and not one
 * whose agent.json is missed. A seal that does not hold goes first, for the same reason.
 */
async function takeLeave(stateDir: string, former: state.AgentFile | null, aside: string): Promise<void> {
  const { agent, seal } = state.statePaths(stateDir);
  try {
    const key = former && (await state.readIdentityKey(stateDir));
    if (former && key)
      return await StateSeal.open(stateDir, former.agent_id, key).change({ "agent.json": null });
  } catch (error) {
    if (!isFault(error) || !["STATE_TAMPERED", "KEYPAIR_INVALID"].includes(error.code)) throw error;
  }
  keepAs(seal, aside);
  removeDurably(agent);
}

/** Moves whatever lies there, also a link or a directory; nothing there is no failure. */
function keepAs(from: string, to: string): void {
  if (lstatSync(from, { throwIfNoEntry: false }) !== undefined) renameDurably(from, to);
}

/** Brings a journal into its one file; a damaged one is kept in as many as it has. */
function gatherJournal(path: string): void {
  try {
    Journal.open(path).close();
  } catch (error) {
    if (!isFault(error)) throw error;
  }
}
