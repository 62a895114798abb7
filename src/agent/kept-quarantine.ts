import { isFault } from "../fault/fault.ts";
import { LIMITS } from "../protocol/limits.ts";
import type { SigningKey } from "../trust/keys.ts";
import { openKeptOrder } from "../trust/order.ts";
import { openQuarantine } from "../trust/quarantine.ts";
import type { TrustSet } from "../trust/trust-set.ts";
import { readSmallFile } from "./durable-file.ts";
import type { Quarantine } from "./standing.ts";
import { statePaths } from "./state-files.ts";

interface Own {
  readonly identity: SigningKey;
  readonly agentId: string;
  /** Of the license: a quarantine of an older one is over. */
  readonly epoch: number;
  readonly nowMs: number;
}

/**
 * The quarantine that quarantine.jws tells of; null without that file, or when it is of an older epoch. One that cannot
 * be read any more (the key that signed it is no longer in the set) holds all the same: only a recovery ends it.
 */
export async function keptQuarantine(
  stateDir: string,
  trust: TrustSet,
  own: Own,
): Promise<Quarantine | null> {
  const text = readText(stateDir);
  if (text === null) return null;
  const kept = (await ownNote(text, own)) ?? (await keptOrder(text, trust, own)) ?? unreadable(text, own);
  return kept.epoch < own.epoch ? null : kept;
}

function readText(stateDir: string): string | null {
  try {
    const bytes = readSmallFile(statePaths(stateDir).quarantine, LIMITS.SMALL_JWS_BYTES);
    return bytes === null ? null : Buffer.from(bytes).toString("latin1").trim();
  } catch (error) {
    if (isFault(error)) return ""; // something lies there
    throw error;
  }
}

async function ownNote(jws: string, { identity }: Own): Promise<Quarantine | null> {
  try {
    const { epoch, code, reason, iat } = await openQuarantine(jws, identity);
    return { epoch, code, reason, since: iat * 1000, jws };
  } catch (error) {
    if (isFault(error)) return null;
    throw error;
  }
}

async function keptOrder(jws: string, trust: TrustSet, own: Own): Promise<Quarantine | null> {
  try {
    const claims = await openKeptOrder(jws, trust, { jkt: own.identity.kid, agentId: own.agentId });
    const { order, epoch, iat } = claims;
    if (order.type !== "quarantine") return null;
    return { epoch, code: "STATE_QUARANTINED", reason: order.reason, since: iat * 1000, jws };
  } catch (error) {
    if (isFault(error)) return null;
    throw error;
  }
}

const unreadable = (jws: string, { epoch, nowMs }: Own): Quarantine => ({
  epoch,
  code: "STATE_QUARANTINED",
  reason: "quarantine.jws says so and cannot be read any more",
  since: nowMs,
  jws,
});
