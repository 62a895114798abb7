import { createHash } from "node:crypto";
import { fault, reasonOf } from "../../fault/fault.ts";
import type { Plan } from "../../protocol/api.ts";
import { type AgentId, newAgentId, newLicenseId } from "../../protocol/ids.ts";
import { parseDocument } from "../../protocol/json.ts";
import {
  type ActivateReply,
  ActivateRequestSchema,
  type ActivateSealed,
  ActivateSealedSchema,
  type Slot,
} from "../../protocol/wire.ts";
import { thumbprint } from "../../trust/keys.ts";
import { newNonce } from "../../trust/proof.ts";
import { unseal } from "../../trust/sealed-box.ts";
import { parseBody } from "../api/body.ts";
import type { Services } from "../api/services.ts";
import { type Proven, replayed } from "../auth/dpop.ts";
import type { ChainState } from "../beat/chain.ts";
import { waitingMax } from "../queue/slots.ts";
import { planOf } from "../store/accounts.ts";
import { type AgentRecord, addAgent, agentRecords } from "../store/agents.ts";
import { recordProofs } from "../store/proofs.ts";
import type { TokenRow, Writer } from "../store/schema.ts";
import { holdSlot, waitingCount } from "../store/slots.ts";
import { markRedeemed, tokenById } from "../store/tokens.ts";
import { firstBeat } from "./first-beat.ts";
import { judgeToken } from "./judge-token.ts";
import { issueLicense, licenseColumns } from "./license.ts";

/** An activation that may be judged: opened, and sealed by the key that signed the request's proof. */
interface Candidate {
  readonly sealed: ActivateSealed;
  readonly proven: Proven;
  readonly nowMs: number;
}

/**
 * Redeems an activation token for the key that signed the request. The whole decision and what it makes are one
 * transaction: the same key asking again gets the same answer, two keys at once cannot both win.
 * Throws TOKEN_*, ACTIVATION_UNREADABLE, ACCOUNT_FULL, DPOP_INVALID.
 */
export async function activate(
  body: Uint8Array,
  proven: Proven,
  services: Services,
  nowMs: number,
): Promise<ActivateReply> {
  const request = parseBody(body, ActivateRequestSchema);
  const sealed = await openSealed(request.sealed, services);
  if ((await thumbprint(sealed.identity_jwk)) !== proven.jkt) {
    throw fault("DPOP_INVALID", { why: "it is not made with the key that asks to be enrolled" });
  }
  const candidate: Candidate = { sealed, proven, nowMs };
  const reply = await services.store.write((db) => redeem(db, request.token_id, candidate, services));
  services.log("info", "agent activated", { agent: reply.agent_id, token: request.token_id });
  return reply;
}

async function openSealed(box: string, { keys }: Services): Promise<ActivateSealed> {
  let plain: Uint8Array;
  try {
    plain = await unseal(box, keys.current().enrol);
  } catch (error) {
    throw fault("ACTIVATION_UNREADABLE", { why: reasonOf(error) }, error);
  }
  const parsed = parseDocument(plain, ActivateSealedSchema);
  if (parsed.ok) return parsed.value;
  throw fault("ACTIVATION_UNREADABLE", { why: `${parsed.path}: ${parsed.why}` });
}

async function redeem(
  db: Writer,
  tokenId: string,
  candidate: Candidate,
  services: Services,
): Promise<ActivateReply> {
  const { sealed, proven, nowMs } = candidate;
  const token = await tokenById(db, tokenId);
  const before = token === null ? null : await agentOfToken(db, token);
  const hasBeaten = before !== null && chainOf(before).n > 0;
  const secretSha256 = createHash("sha256").update(sealed.secret).digest("hex");
  const verdict = judgeToken(token, { secretSha256, jkt: proven.jkt }, hasBeaten, nowMs);
  if (verdict.verdict === "refuse") throw verdict.why;
  if (token === null) throw fault("TOKEN_UNKNOWN"); // judged so above; the compiler wants to hear it
  const fresh = await recordProofs(db, [{ accountId: token.account_id, proof: proven.proof, nowMs }]);
  if (!fresh.has(proven.proof)) throw replayed();
  if (verdict.verdict === "answer_again" && before !== null) return await answerAgain(db, before, nowMs);
  return await enrol(db, token, candidate, services);
}

async function agentOfToken(db: Writer, token: TokenRow): Promise<AgentRecord | null> {
  if (token.agent_id === null) return null;
  const wanted = { accountId: token.account_id, agentId: token.agent_id };
  return (await agentRecords(db, [wanted])).get(token.agent_id) ?? null;
}

/** What the key was answered before, as it is now: the license and the chain are the same, the slot may have moved. */
async function answerAgain(db: Writer, record: AgentRecord, nowMs: number): Promise<ActivateReply> {
  const { max_agents } = await planOf(db, record.agent.account_id);
  return replyOf(record, await holdSlot(db, record.agent, max_agents, nowMs));
}

async function enrol(
  db: Writer,
  token: TokenRow,
  candidate: Candidate,
  services: Services,
): Promise<ActivateReply> {
  const { proven, nowMs } = candidate;
  const accountId = token.account_id;
  const plan = await planOf(db, accountId);
  const agentId = newAgentId(services.random);
  const record = await newRecord(agentId, token, candidate, plan, services);
  await addAgent(db, record.agent, record.beat);
  const slot = await holdSlot(db, record.agent, plan.max_agents, nowMs);
  if (!slot.held && (await waitingCount(db, accountId, nowMs)) > waitingMax(plan.max_agents)) {
    throw fault("ACCOUNT_FULL", { max: plan.max_agents });
  }
  const spent = { account: accountId, token: token.id, jkt: proven.jkt, agent: agentId } as const;
  services.ledger.append({ type: "token_redeemed", ...spent }, nowMs);
  await markRedeemed(db, accountId, token.id, { jkt: proven.jkt, agentId, nowMs });
  return replyOf(record, slot);
}

function replyOf(record: AgentRecord, slot: Slot): ActivateReply {
  const { n, nonce } = chainOf(record);
  const { id, license } = record.agent;
  return { v: 1, agent_id: id, license, slot, beat: { n, nonce } };
}

async function newRecord(
  agentId: AgentId,
  token: TokenRow,
  { sealed, proven, nowMs }: Candidate,
  plan: Plan,
  services: Services,
): Promise<AgentRecord> {
  const { random, keys, era } = services;
  const accountId = token.account_id;
  const lic = newLicenseId(random);
  const nowS = Math.floor(nowMs / 1000);
  const { fingerprint } = sealed;
  const licensee = { accountId, agentId, lic, jkt: proven.jkt, epoch: 1, fingerprint };
  const at = { nowS, jti: newNonce(random), era };
  const license = await issueLicense(licensee, plan, keys.current(), at);
  return {
    agent: {
      id: agentId,
      account_id: accountId,
      jkt: proven.jkt,
      identity_x: sealed.identity_jwk.x,
      sealing_x: sealed.sealing_jwk.x,
      hostname: sealed.hostname,
      labels: JSON.stringify(sealed.labels),
      fingerprint: JSON.stringify(fingerprint),
      lic,
      epoch: 1,
      ...licenseColumns(license),
      slot_since: null,
      waiting_since: nowMs,
      created_at: nowMs,
      era,
      order_seq: 0,
      quarantined_at: null,
      quarantine_reason: null,
      terminated_at: null,
      end_reason: null,
      ended_at: null,
      unconfirmed_since: null,
    },
    beat: firstBeat(
      { agentId, accountId, version: sealed.version, trustSeq: keys.current().claims.seq },
      random,
    ),
  };
}

const chainOf = ({ beat }: AgentRecord): ChainState => JSON.parse(beat.chain) as ChainState;
