import * as v from "valibot";
import { type Fault, fault, isFault } from "../fault/fault.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import { ThumbprintSchema } from "../protocol/scalars.ts";
import { TYP } from "../protocol/trust.ts";
import { type RekeyReply, RekeyReplySchema, type RekeyRequest, ROUTES } from "../protocol/wire.ts";
import { makeSealingKey, makeSigningKey } from "../trust/keys.ts";
import { type License, openLicense } from "../trust/license.ts";
import { signJws } from "../trust/sign-jws.ts";
import { sha256Of } from "../trust/strict-jws.ts";
import type { TrustSet } from "../trust/trust-set.ts";
import type { Log } from "./agent-log.ts";
import { writeDurably } from "./durable-file.ts";
import type { Journal } from "./journal.ts";
import type { Session } from "./session.ts";
import { type Recover, standing } from "./standing.ts";
import { type AgentFile, type KeyPair, readKeyPair, statePaths } from "./state-files.ts";
import { refusalOf } from "./transport.ts";

export interface RekeyContext {
  readonly stateDir: string;
  readonly file: AgentFile;
  /** Thumbprint of the key in use. */
  readonly jkt: string;
  readonly journal: Journal;
  readonly session: Session;
  readonly trust: TrustSet;
  readonly license: License;
  readonly nowS: number;
  readonly signal: AbortSignal;
  readonly log: Log;
}

/** What the journal holds between the answer to a change of keys and its last file. */
export const RekeyedSchema = v.strictObject({ jkt: ThumbprintSchema });

/**
 * One try to change keys on a `recover` order. The new keys are on disk and in the journal before the request leaves,
 * so that a lost answer is asked for again with the same ones; the answer is in the journal, with all that follows from
 * it, before any file changes. Returns true when the agent has its new keys, and false when the Control Plane will not
 * take this order any more. Throws what is worth another try.
 */
export async function rekeyOnce(recover: Recover, ctx: RekeyContext): Promise<boolean> {
  const keys = await nextKeys(recover, ctx);
  const reply = await ask(recover, keys, ctx);
  if (reply === null) return false;
  const license = await openLicense(reply.license, ctx.trust, {
    jkt: keys.identity.kid,
    agentId: ctx.file.agent_id,
  });
  const { epoch } = ctx.license.claims;
  if (license.claims.epoch <= epoch) {
    throw fault("LICENSE_INVALID", { why: `it is of epoch ${license.claims.epoch}, not above ${epoch}` });
  }
  store(reply, license, keys, ctx.journal);
  ctx.log("warn", "agent.rekeyed", { epoch: license.claims.epoch, jkt: keys.identity.kid });
  return true;
}

/** The keys an earlier try made, else new ones: sealing key first, as keys come into use in that order. */
async function nextKeys(recover: Recover, { stateDir, journal }: RekeyContext): Promise<KeyPair> {
  const made = recover.jkt === null ? null : await usableKeys(stateDir);
  if (made !== null && made.identity.kid === recover.jkt) return made;
  const identity = await makeSigningKey();
  const sealing = await makeSealingKey();
  const paths = statePaths(stateDir);
  writeDurably(paths.nextSealingKey, sealing.pem);
  writeDurably(paths.nextIdentityKey, identity.pem);
  standing.setRecover(journal, { ...recover, jkt: identity.key.kid });
  return { identity: identity.key, sealing: sealing.key };
}

async function usableKeys(stateDir: string): Promise<KeyPair | null> {
  try {
    return await readKeyPair(stateDir, "next");
  } catch (error) {
    if (isFault(error, "KEYPAIR_INVALID")) return null; // half-made by a crash before any request left
    throw error;
  }
}

async function ask(recover: Recover, keys: KeyPair, ctx: RekeyContext): Promise<RekeyReply | null> {
  const proof = await signJws(TYP.rekey, keys.identity, {
    v: 1,
    agent: ctx.file.agent_id,
    old_jkt: ctx.jkt,
    order_sha256: sha256Of(recover.jws),
    sealing_x: keys.sealing.jwk.x,
  });
  const request: RekeyRequest = {
    v: 1,
    order: recover.jws,
    identity_jwk: keys.identity.jwk,
    sealing_jwk: keys.sealing.jwk,
    proof,
  };
  let body: Uint8Array;
  try {
    const reply = await ctx.session.send({
      method: "POST",
      path: ROUTES.rekey,
      headers: { "content-type": "application/json" },
      body: new TextEncoder().encode(JSON.stringify(request)),
      maxReplyBytes: LIMITS.ACTIVATE_BODY_BYTES,
      accept: "application/json",
      signal: ctx.signal,
    });
    body = reply.body;
  } catch (error) {
    if (!isFault(error) || !isSpent(error, recover, ctx.nowS)) throw error;
    ctx.log("error", "recover.refused", {
      code: refusalOf(error)?.problem ?? error.code,
      why: error.message,
    });
    ctx.journal.clearMeta("recover");
    return null;
  }
  const parsed = parseDocument(body, RekeyReplySchema);
  if (parsed.ok) return parsed.value;
  throw fault("WIRE_REPLY_MALFORMED", { url: ROUTES.rekey, why: `${parsed.path}: ${parsed.why}` });
}

/**
 * A refusal counts only when the order's time is over as well: refusals are not signed, and giving up early an order
 * that the Control Plane has already followed would leave the agent with a key it retired.
 */
function isSpent(why: Fault, { exp }: Recover, nowS: number): boolean {
  const refusal = refusalOf(why);
  if (refusal === null || refusal.problem === null || nowS < exp + LIMITS.CLOCK_TOLERANCE_S) return false;
  return refusal.status >= 400 && refusal.status < 500 && !PASSING.includes(refusal.status);
}

/** Statuses that speak of the credential, the address or the moment, not of the order. */
const PASSING: readonly number[] = [401, 404, 408, 425, 429];

function store({ beat, receipts }: RekeyReply, license: License, keys: KeyPair, journal: Journal): void {
  journal.atomically(() => {
    journal.setChain({ n: beat.n, nonce: beat.nonce });
    journal.writeMeta("license", license.text);
    journal.writeDocument("rekeyed", { jkt: keys.identity.kid });
    journal.clearMeta("recover", "quarantine", "window", "orders", "pending_rid", "reseal");
    journal.continueReceipts(receipts);
  });
}
