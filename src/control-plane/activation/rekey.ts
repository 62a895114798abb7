import { type Fault, fault, isFault } from "../../fault/fault.ts";
import { type Plan, QUARANTINING } from "../../protocol/api.ts";
import { LIMITS } from "../../protocol/limits.ts";
import type { OrderClaims } from "../../protocol/order.ts";
import { FIRST_PREV_SHA256 } from "../../protocol/receipt.ts";
import { TYP } from "../../protocol/trust.ts";
import { RekeyClaimsSchema, type RekeyReply, type RekeyRequest } from "../../protocol/wire.ts";
import { importVerifyKey, thumbprint } from "../../trust/keys.ts";
import { openKeptOrder } from "../../trust/order.ts";
import { newNonce } from "../../trust/proof.ts";
import { type JwsClass, openJws, sha256Of } from "../../trust/strict-jws.ts";
import type { Services } from "../api/services.ts";
import { replayed } from "../auth/dpop.ts";
import type { AgentPrincipal } from "../auth/principal.ts";
import { type ChainState, newChain } from "../beat/chain.ts";
import { carryOver } from "../orders/new-order.ts";
import { orderIn } from "../orders/settle.ts";
import { planOf } from "../store/accounts.ts";
import { type AgentRecord, agentOfKeyAlone, agentRecords, saveAgent, saveBeats } from "../store/agents.ts";
import { resolveAnomalies } from "../store/anomalies.ts";
import { forgetInstances } from "../store/instances.ts";
import { addOrder, openOrders, saveOrder } from "../store/orders.ts";
import { recordProofs } from "../store/proofs.ts";
import { lastReceipt } from "../store/receipts.ts";
import { addRetiredKey, retiredKeys } from "../store/retired-keys.ts";
import type { OrderRow, RetiredKeyRow, Writer } from "../store/schema.ts";
import { awaitSlot } from "../store/slots.ts";
import { renewLicense } from "./license.ts";

const REKEY: JwsClass<typeof RekeyClaimsSchema> = {
  what: "proof of the new key",
  typ: TYP.rekey,
  maxBytes: LIMITS.SMALL_JWS_BYTES,
  schema: RekeyClaimsSchema,
};

/** A request whose signatures hold: our own order for this agent, and the new key over it. */
interface Candidate {
  readonly request: RekeyRequest;
  readonly claims: OrderClaims;
  /** Thumbprint of the new identity key. */
  readonly jkt: string;
  readonly principal: AgentPrincipal;
  readonly nowMs: number;
}

/**
 * Gives a recovered agent its new key: a license of the next epoch and a new chain. One transaction; the same new key gets
 * the same answer until its first beat. Throws REKEY_*, AGENT_SUPERSEDED, AGENT_ENDED, DPOP_INVALID.
 */
export async function rekey(
  request: RekeyRequest,
  principal: AgentPrincipal,
  services: Services,
  nowMs: number,
): Promise<RekeyReply> {
  const claims = await openOwnOrder(request.order, principal, services);
  const jkt = await checkProof(request, principal);
  const candidate: Candidate = { request, claims, jkt, principal, nowMs };
  const { reply, fresh } = await services.store.write((db) => replaceKey(db, candidate, services));
  if (fresh) {
    services.wakes.close(principal.agentId);
    services.log("info", "agent recovered", { agent: principal.agentId, epoch: claims.epoch + 1 });
  }
  return reply;
}

/** The order as this server signed it for this agent and key. When it ended is asked later: an answer may be repeated. */
async function openOwnOrder(
  text: string,
  { agentId, proven }: AgentPrincipal,
  { keys }: Services,
): Promise<OrderClaims> {
  try {
    return await openKeptOrder(text, keys.current().trust, { jkt: proven.jkt, agentId });
  } catch (error) {
    if (isFault(error)) throw fault("REKEY_ORDER_INVALID", { why: error.message }, error);
    throw error;
  }
}

/** The new identity key has signed which key it follows, on which order, with which sealing key. */
async function checkProof(request: RekeyRequest, { agentId, proven }: AgentPrincipal): Promise<string> {
  const refuse = (why: string, cause?: unknown): Fault => fault("REKEY_PROOF_INVALID", { why }, cause);
  const jkt = await thumbprint(request.identity_jwk);
  if (jkt === proven.jkt) throw refuse("it is the old key");
  try {
    const key = await importVerifyKey(request.identity_jwk);
    const { claims } = await openJws(request.proof, REKEY, ({ kid }) => (kid === jkt ? key : null));
    if (claims.agent !== agentId) throw refuse(`it speaks of the agent "${claims.agent}"`);
    if (claims.old_jkt !== proven.jkt) throw refuse("it speaks of another old key");
    if (claims.order_sha256 !== sha256Of(request.order)) throw refuse("it speaks of another order");
    if (claims.sealing_x !== request.sealing_jwk.x) throw refuse("it speaks of another sealing key");
    return jkt;
  } catch (error) {
    if (isFault(error, "REKEY_PROOF_INVALID")) throw error;
    if (isFault(error)) throw refuse(error.message, error);
    throw error;
  }
}

async function replaceKey(
  db: Writer,
  candidate: Candidate,
  services: Services,
): Promise<{ reply: RekeyReply; fresh: boolean }> {
  const { principal, nowMs } = candidate;
  const { accountId, agentId, proven } = principal;
  const fresh = await recordProofs(db, [{ accountId, proof: proven.proof, nowMs }]);
  if (!fresh.has(proven.proof)) throw replayed();
  const record = (await agentRecords(db, [{ accountId, agentId }])).get(agentId);
  if (record === undefined) throw fault("BEARER_INVALID", { why: "the agent it names is not known" });
  const { agent } = record;
  if (agent.terminated_at !== null) throw fault("AGENT_ENDED", { reason: agent.end_reason ?? "" });
  if (agent.jkt !== proven.jkt) {
    const retired = (await retiredKeys(db, [proven.jkt])).get(proven.jkt) ?? null;
    if (!isRepeat(candidate, record, retired)) throw fault("AGENT_SUPERSEDED");
    return { reply: await answer(db, record), fresh: false };
  }
  const orders = await openOrders(db, [{ accountId, agentId }]);
  const order = judgeOrder(candidate, record, orders);
  await refuseUsedKey(db, candidate.jkt);
  const plan = await planOf(db, accountId);
  const next = await recovered(db, candidate, record, orders, plan, services);
  services.ledger.append({ type: "key_retired", account: accountId, agent: agentId, jkt: proven.jkt }, nowMs);
  const how = { by: order.given_by, resolution: `recovered ${inst(order)}: ${order.reason}`, nowMs };
  await resolveAnomalies(db, { accountId, agentId, kinds: QUARANTINING }, how);
  return { reply: await answer(db, next), fresh: true };
}

/** The same new key again, by the key it has followed, on the order that made it, before its first beat. */
function isRepeat(
  { claims, jkt, request }: Candidate,
  { agent, beat }: AgentRecord,
  retired: RetiredKeyRow | null,
): boolean {
  const { n } = JSON.parse(beat.chain) as ChainState;
  return (
    retired !== null &&
    retired.agent_id === agent.id &&
    retired.successor === jkt &&
    retired.epoch === claims.epoch &&
    retired.recover_seq === claims.seq &&
    agent.jkt === jkt &&
    agent.sealing_x === request.sealing_jwk.x &&
    n === 0
  );
}

/** The order must be the recovery in force: of this epoch, this number, this process, and in time. */
function judgeOrder(
  { claims, nowMs }: Candidate,
  { agent }: AgentRecord,
  orders: readonly OrderRow[],
): OrderRow {
  if (claims.order.type !== "recover") {
    throw fault("REKEY_ORDER_INVALID", { why: `it is a "${claims.order.type}" order` });
  }
  if (claims.epoch !== agent.epoch) {
    throw fault("REKEY_ORDER_INVALID", { why: `it is of epoch ${claims.epoch}, this is ${agent.epoch}` });
  }
  const inForce = orders.find(({ type }) => type === "recover");
  if (agent.quarantined_at === null || inForce === undefined) throw fault("REKEY_ORDER_REPLACED");
  if (inForce.seq !== claims.seq || inForce.body !== JSON.stringify(claims.order)) {
    throw fault("REKEY_ORDER_REPLACED");
  }
  const seconds = Math.floor(nowMs / 1000) - claims.exp;
  if (seconds >= LIMITS.CLOCK_TOLERANCE_S) throw fault("REKEY_ORDER_EXPIRED", { seconds });
  return inForce;
}

async function refuseUsedKey(db: Writer, jkt: string): Promise<void> {
  const used = (await agentOfKeyAlone(db, jkt)) !== null || (await retiredKeys(db, [jkt])).has(jkt);
  if (used) throw fault("REKEY_PROOF_INVALID", { why: "the key has been an agent's already" });
}

/** Writes down what the agent is from here on. */
async function recovered(
  db: Writer,
  { request, claims, jkt, nowMs }: Candidate,
  { agent, beat }: AgentRecord,
  orders: readonly OrderRow[],
  plan: Plan,
  services: Services,
): Promise<AgentRecord> {
  const { account_id, id, epoch } = agent;
  await addRetiredKey(db, {
    ...{ jkt: agent.jkt, account_id, agent_id: id, identity_x: agent.identity_x, epoch },
    ...{ recover_seq: claims.seq, successor: jkt, retired_at: nowMs, license: agent.license },
  });
  const renewedKey = {
    ...agent,
    ...{ jkt, identity_x: request.identity_jwk.x, sealing_x: request.sealing_jwk.x, epoch: epoch + 1 },
    ...{ quarantined_at: null, quarantine_reason: null, era: services.era },
  };
  const carried = carryOver(orders, renewedKey, nowMs);
  for (const { before, after } of carried.ended) await saveOrder(db, before, after);
  for (const order of carried.orders) await addOrder(db, order);
  const at = { nowS: Math.floor(nowMs / 1000), jti: newNonce(services.random), era: services.era };
  const license = await renewLicense(carried.agent, plan, services.keys.current(), at);
  const next: AgentRecord = {
    agent: { ...carried.agent, ...license },
    beat: {
      ...beat,
      ...{ chain: JSON.stringify(newChain(newNonce(services.random))), reply: null, offer_seq: 0 },
      ...{ trust_seq: 0, inst: null, inst_since: null, inst_beats: 0 },
      ...{ seal_ctr: 0, head_seq: 0, head: null },
    },
  };
  await saveAgent(db, next.agent);
  await saveBeats(db, [next.beat]);
  await awaitSlot(db, agent, nowMs);
  await forgetInstances(db, account_id, id, epoch);
  return next;
}

async function answer(db: Writer, { agent, beat }: AgentRecord): Promise<RekeyReply> {
  const { n, nonce } = JSON.parse(beat.chain) as ChainState;
  const head = await lastReceipt(db, agent.account_id, agent.id);
  const receipts = head ?? { seq: 0, sha256: FIRST_PREV_SHA256 };
  return { v: 1, license: agent.license, beat: { n, nonce }, receipts };
}

function inst(row: OrderRow): string {
  const order = orderIn(row);
  return order.type === "recover" ? order.inst : "";
}
