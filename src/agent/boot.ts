import { rmSync } from "node:fs";
import * as v from "valibot";
import { type Fault, fault, isFault } from "../fault/fault.ts";
import { makeFingerprint } from "../host/fingerprint.ts";
import type { IdentityFacts } from "../host/identity-facts.ts";
import { LIMITS } from "../protocol/limits.ts";
import type { Fingerprint, FingerprintComponent } from "../protocol/trust.ts";
import { compareFingerprints, differenceOf } from "../trust/fingerprint-match.ts";
import type { SealingKey, SigningKey } from "../trust/keys.ts";
import type { License } from "../trust/license.ts";
import { openKeptOrder } from "../trust/order.ts";
import { signQuarantine } from "../trust/quarantine.ts";
import { openTrust, type TrustSet } from "../trust/trust-set.ts";
import type { Log } from "./agent-log.ts";
import { type Clock, pause, type Timers } from "./clock.ts";
import { readSmallFile } from "./durable-file.ts";
import { type Boot, loadForBoot } from "./identity.ts";
import { IN_FLIGHT } from "./job-table.ts";
import { Journal } from "./journal.ts";
import { keptQuarantine } from "./kept-quarantine.ts";
import { RekeyedSchema } from "./rekey.ts";
import { SealedFiles } from "./sealed-state.ts";
import { type End, standing } from "./standing.ts";
import * as state from "./state-files.ts";
import { StateSeal } from "./state-seal.ts";

export interface BootContext {
  readonly stateDir: string;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  readonly identityFacts: () => IdentityFacts;
  /** Aborted when the process is to stop: nothing is waited for any more. */
  readonly stopped: AbortSignal;
}

/** Who this agent is, and how its state was found: enough to begin a life. */
export interface Begun {
  readonly file: state.AgentFile;
  readonly identity: SigningKey;
  /** Null in a tampered state that lost it: then nothing starts that could need it. */
  readonly sealing: SealingKey | null;
  readonly trust: TrustSet;
  readonly license: License;
  readonly state: SealedFiles;
  /** Some of it came from elsewhere than its file: once the files are whole again, all of it is read anew. */
  readonly remnant: boolean;
  readonly fingerprint: Fingerprint;
  readonly unknown: readonly FingerprintComponent[];
}

/** How long an agent that can tell nobody waits before it looks at its files again, and says so again. */
const LOOK_AGAIN_MS = LIMITS.BEAT_INTERVAL_S * 1000;
/** How long after its end an agent that is started again still tries to deliver what it owes. */
const LAST_DELIVERY_MS = 86_400_000;
/** A time at which no key set has expired. */
export const WHENEVER_S = 0;
const FINGERPRINT_TRIES = 3;
const FINGERPRINT_WAIT_MS = 5_000;

/**
 * Throws STATE_TERMINAL when a terminal order for this agent lies in its state directory, unless its journal knows of the
 * order as well: then `begin` decides. Changes nothing; what cannot be read or proved here is for the seal to name.
 */
export async function refuseEnded(stateDir: string): Promise<void> {
  const end = await keptEnd(stateDir);
  if (end !== null && !journalKnowsEnd(stateDir)) throw fault("STATE_TERMINAL", { reason: end });
}

function journalKnowsEnd(stateDir: string): boolean {
  try {
    using journal = Journal.open(state.statePaths(stateDir).journal, "read");
    return standing.end(journal) !== null;
  } catch (error) {
    if (isFault(error)) return false; // there is none, or none that can be read
    throw error;
  }
}

/** Why the terminal order on disk ended this agent; null without a provable one. */
export async function keptEnd(stateDir: string): Promise<string | null> {
  try {
    const bytes = readSmallFile(state.statePaths(stateDir).terminal, LIMITS.SMALL_JWS_BYTES);
    const file = bytes && state.readAgentFile(stateDir);
    const document = file && state.readTrustFile(stateDir);
    if (!bytes || !file || !document) return null;
    const text = Buffer.from(bytes).toString("latin1").trim();
    const trust = await openTrust(document, WHENEVER_S); // it was taken while the set was in force
    const { order } = await openKeptOrder(text, trust, {
      jkt: await ownKey(stateDir),
      agentId: file.agent_id,
    });
    return order.type === "terminal" ? order.reason : null;
  } catch (error) {
    if (isFault(error)) return null;
    throw error;
  }
}

/** Thumbprint of the key in use; null when there is none to ask: then an order for any key of this agent counts. */
async function ownKey(stateDir: string): Promise<string | null> {
  try {
    return (await state.readIdentityKey(stateDir))?.kid ?? null;
  } catch (error) {
    if (isFault(error)) return null;
    throw error;
  }
}

/**
 * Everything between the journal and the first beat, without a child process and without the network: an order that
 * ended the agent, a change of keys that was cut, the seal, the quarantine, the fingerprint. An agent that cannot even
 * tell anybody what is wrong with its files stays and looks again. Null when the process is to stop. Throws
 * STATE_TERMINAL for an agent that was ended and owes nothing.
 */
export async function begin(ctx: BootContext): Promise<Begun | null> {
  for (;;) {
    const end = await endToTell(ctx);
    await finishRekey(ctx);
    // A key set that is over, or a clock that is wrong, ends nothing: without a key in its time nothing is believed, and
    // the loop asks for a newer set.
    const boot = await loadForBoot(ctx.stateDir, ctx.journal, WHENEVER_S);
    const begun = begunFrom(boot, ctx);
    if (begun === null && end !== null) throw fault("STATE_TERMINAL", { reason: end.reason });
    if (begun !== null) {
      tellExpiry(begun.trust, ctx);
      if (boot.standing === "sound") keepCopies(begun, ctx.journal);
      await takeQuarantine(begun, ctx);
      await holdFingerprint(begun, ctx);
      return ctx.stopped.aborted ? null : begun;
    }
    for (const { code, name, what } of boot.verdict.findings) {
      ctx.log("error", "state.tampered", { code, name, what });
    }
    await pause(ctx.timers, LOOK_AGAIN_MS, ctx.stopped);
    if (ctx.stopped.aborted) return null;
  }
}

function tellExpiry({ claims }: TrustSet, { clock, log }: BootContext): void {
  const end = claims.exp * 1000;
  if (end <= clock.wallMs()) log("warn", "trust.expired", { until: new Date(end).toISOString() });
}

/**
 * The order that ended this agent, when the process that followed it was cut off before all outcomes were delivered: what
 * begins then starts nothing, tells them, and ends. Null for an agent that goes on. Throws STATE_TERMINAL.
 */
async function endToTell(ctx: BootContext): Promise<End | null> {
  const end = standing.end(ctx.journal);
  if (end === null) return null;
  await keepEnd(end, ctx);
  if (owesOutcomes(ctx.journal) && ctx.clock.wallMs() - end.since < LAST_DELIVERY_MS) return end;
  throw fault("STATE_TERMINAL", { reason: end.reason });
}

/** Whether there is something to deliver, and somebody who takes it: one that is held back is not heard. */
function owesOutcomes(journal: Journal): boolean {
  const owes = journal.jobsIn(IN_FLIGHT).length > 0 || journal.openReceipts().length > 0;
  return owes && journal.readDocument("last_beat", HeardSchema)?.standing !== "held";
}

const HeardSchema = v.object({ standing: v.optional(v.string()) });

/** The process may have been cut off before the order's file was written. */
async function keepEnd(end: End, { stateDir, log }: BootContext): Promise<void> {
  if ((await keptEnd(stateDir)) !== null) return;
  try {
    const file = state.readAgentFile(stateDir);
    const keys = await state.readKeyPair(stateDir);
    if (file && keys) {
      const seal = StateSeal.open(stateDir, file.agent_id, keys.identity);
      await seal.change({ "terminal.jws": `${end.jws}\n` });
    }
  } catch (error) {
    if (!isFault(error)) throw error;
    log("warn", "state.unwritten", { code: error.code, why: error.message }); // the journal has it
  }
}

/** The Control Plane knows the new keys, and the journal that it does: the files follow, from wherever they were cut. */
async function finishRekey({ stateDir, journal, log }: BootContext): Promise<void> {
  const rekeyed = journal.readDocument("rekeyed", RekeyedSchema);
  if (rekeyed === null) return;
  try {
    const file = state.readAgentFile(stateDir);
    const current = await state.readIdentityKey(stateDir);
    if (file === null || current === null) return;
    if (current.kid !== rekeyed.jkt) {
      const next = await state.readKeyPair(stateDir, "next");
      if (next?.identity.kid !== rekeyed.jkt) return;
      const license = journal.readMeta("license");
      const seal = StateSeal.open(stateDir, file.agent_id, current);
      await seal.rekey(
        { ...(license === null ? {} : { "license.jwt": `${license}\n` }), "quarantine.jws": null },
        next.identity,
      );
    }
    rmSync(state.statePaths(stateDir).bearer, { force: true });
    journal.clearMeta("rekeyed");
    log("info", "rekey.finished", { jkt: rekeyed.jkt });
  } catch (error) {
    if (!isFault(error) || !NAMED_BY_SEAL.includes(error.code)) throw error;
    log("error", "rekey.unfinished", { code: error.code, why: error.message }); // the seal check names the file
  }
}

const NAMED_BY_SEAL: readonly string[] = ["STATE_TAMPERED", "STATE_FILE_MALFORMED", "KEYPAIR_INVALID"];

function begunFrom(boot: Boot, ctx: BootContext): Begun | null {
  const found = boot.standing === "sound" ? { ...boot.identity, ...boot.identity.keys } : boot.remnant;
  if (found === null || found.license === null || boot.seal === null) return null;
  const { file, identity, sealing, trust, license } = found;
  const { raw, unknown, problem } = ctx.identityFacts();
  if (problem !== null) ctx.log("warn", "fingerprint.facts_unused", { why: problem });
  return {
    file,
    identity,
    sealing,
    trust,
    license,
    state: new SealedFiles(ctx.stateDir, ctx.journal, boot.seal, boot.verdict),
    remnant: boot.standing !== "sound",
    fingerprint: makeFingerprint(raw, trust.claims.fp_salt),
    unknown,
  };
}

/** Should a file be lost later, the journal still knows who this agent is. */
function keepCopies({ license, trust }: Begun, journal: Journal): void {
  if (journal.readMeta("license") === null) journal.writeMeta("license", license.text);
  if (journal.readMeta("trust") === null) journal.writeMeta("trust", JSON.stringify(trust.document));
}

/** A journal that was lost does not end a quarantine: the file says it too. */
async function takeQuarantine(begun: Begun, { stateDir, journal, clock }: BootContext): Promise<void> {
  const { epoch } = begun.license.claims;
  if (standing.quarantine(journal, epoch) !== null) return;
  const own = { identity: begun.identity, agentId: begun.file.agent_id, epoch, nowMs: clock.wallMs() };
  const kept = await keptQuarantine(stateDir, begun.trust, own);
  if (kept !== null) standing.setQuarantine(journal, kept);
}

/** Compares the machine with the one that was activated. A mismatch is believed when it was seen three times. */
async function holdFingerprint(begun: Begun, ctx: BootContext): Promise<void> {
  const { journal, log } = ctx;
  const { license, trust } = begun;
  const { epoch, fp } = license.claims;
  if (standing.quarantine(journal, epoch) !== null) return;
  for (let tries = 1; ; tries++) {
    const { raw, unknown } = ctx.identityFacts();
    const match = compareFingerprints(fp, makeFingerprint(raw, trust.claims.fp_salt), unknown);
    const difference = differenceOf(match);
    if (match.verdict === "match") return;
    log("warn", `fingerprint.${match.verdict}`, { difference, score: match.score, tries });
    if (match.verdict === "drift") return;
    if (tries === FINGERPRINT_TRIES) {
      return await quarantineLocally(
        fault("FINGERPRINT_MISMATCH", { why: difference }),
        difference,
        begun,
        ctx,
      );
    }
    await pause(ctx.timers, FINGERPRINT_WAIT_MS, ctx.stopped);
    if (ctx.stopped.aborted) return;
  }
}

async function quarantineLocally(
  { code, message }: Fault,
  reason: string,
  { file, identity, license }: Begun,
  { journal, clock, log }: BootContext,
): Promise<void> {
  const { epoch } = license.claims;
  const since = clock.wallMs();
  const iat = Math.floor(since / 1000);
  const jws = await signQuarantine(identity, { v: 1, iss: file.agent_id, epoch, code, reason, iat });
  standing.setQuarantine(journal, { epoch, code, reason, since, jws });
  log("error", "agent.quarantined", { code, why: message });
}
