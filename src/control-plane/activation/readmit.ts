import { fault, isFault } from "../../fault/fault.ts";
import type { AgentId } from "../../protocol/ids.ts";
import type { LicenseClaims } from "../../protocol/trust.ts";
import { type ReadmitRequest, ReadmitRequestSchema } from "../../protocol/wire.ts";
import { thumbprint } from "../../trust/keys.ts";
import { licenseStanding, openLicense } from "../../trust/license.ts";
import { parseBody } from "../api/body.ts";
import type { Services } from "../api/services.ts";
import { type Proven, replayed } from "../auth/dpop.ts";
import { waitingMax } from "../queue/slots.ts";
import { planOf } from "../store/accounts.ts";
import { addAgent, saveAgent, saveBeats } from "../store/agents.ts";
import { recordFinding } from "../store/anomalies.ts";
import { recordProofs } from "../store/proofs.ts";
import { accountExists, agentOfAnyAccount, isBarred, unconfirmedCount } from "../store/readmission.ts";
import { addRetiredKey, retiredKeys } from "../store/retired-keys.ts";
import type { AgentRow, Writer } from "../store/schema.ts";
import { leaveSlot } from "../store/slots.ts";
import { firstBeat } from "./first-beat.ts";
import { LICENSE_STALE } from "./license.ts";

/** A license of ours that was shown with the key it is bound to. */
interface Claimant {
  readonly request: ReadmitRequest;
  readonly claims: LicenseClaims;
  readonly proven: Proven;
  readonly nowMs: number;
}

const refuse = (why: string, cause?: unknown) => fault("READMIT_REFUSED", { why }, cause);

/**
 * Takes back an agent that this server gave a license after the backup it was restored from: into standby, with the case
 * for an admin to confirm it. Asking again changes nothing. Throws READMIT_REFUSED, ACCOUNT_FULL, DPOP_INVALID.
 */
export async function readmit(
  body: Uint8Array,
  proven: Proven,
  services: Services,
  nowMs: number,
): Promise<AgentId> {
  const request = parseBody(body, ReadmitRequestSchema);
  if ((await thumbprint(request.identity_jwk)) !== proven.jkt) {
    throw fault("DPOP_INVALID", { why: "it is not made with the key that asks to be taken back" });
  }
  const claims = await licensed(request.license, proven.jkt, services, nowMs);
  const claimant: Claimant = { request, claims, proven, nowMs };
  const fresh = await services.store.write((db) => takeBack(db, claimant, services));
  if (fresh) services.log("warn", "unknown agent taken back", { agent: claims.sub, era: claims.era });
  return claims.sub;
}

async function licensed(
  text: string,
  jkt: string,
  { keys, era }: Services,
  nowMs: number,
): Promise<LicenseClaims> {
  let claims: LicenseClaims;
  try {
    ({ claims } = await openLicense(text, keys.current().trust, { jkt, agentId: null }));
  } catch (error) {
    if (isFault(error)) throw refuse(error.message, error);
    throw error;
  }
  const standing = licenseStanding(claims, Math.floor(nowMs / 1000));
  if (standing === "expired" || standing === "not_yet_valid") throw refuse("its license is not valid now");
  // Whoever got a license in this era is in this database, or was put out of it since.
  if (claims.era >= era) throw refuse(`its license is of era ${claims.era}, and this is era ${era}`);
  return claims;
}

async function takeBack(db: Writer, claimant: Claimant, services: Services): Promise<boolean> {
  const { claims, proven, nowMs } = claimant;
  const { tenant: accountId, sub: id, cnf } = claims;
  if (!(await accountExists(db, accountId))) throw refuse("the account of its license is gone");
  const proof = { accountId, proof: proven.proof, nowMs };
  if (!(await recordProofs(db, [proof])).has(proven.proof)) throw replayed();
  if ((await isBarred(db, id, cnf.jkt)) || (await retiredKeys(db, [cnf.jkt])).size > 0) {
    throw refuse("the agent or its key was ended");
  }
  const known = await agentOfAnyAccount(db, id);
  if (known === null) await create(db, claimant, services);
  else if (known.jkt === cnf.jkt) return false;
  else await replaceKey(db, known, claimant, services);
  const what = `it was given license ${claims.lic} (epoch ${claims.epoch}) after the backup this server was restored from`;
  const evidence = { what, epoch: claims.epoch, era: claims.era, jkt: cnf.jkt, known: known !== null };
  const finding = {
    accountId,
    agentId: id,
    epoch: claims.epoch,
    kind: "unknown_agent",
    evidence,
    nowMs,
  } as const;
  await recordFinding(db, finding, services.random);
  return true;
}

async function create(db: Writer, { claims, request, nowMs }: Claimant, services: Services): Promise<void> {
  const accountId = claims.tenant;
  const { max_agents } = await planOf(db, accountId);
  // Every one of a full account may have come after the backup; more than that cannot.
  if ((await unconfirmedCount(db, accountId)) >= max_agents + waitingMax(max_agents)) {
    throw fault("ACCOUNT_FULL", { max: max_agents });
  }
  const agent: AgentRow = {
    id: claims.sub,
    account_id: accountId,
    ...boundTo({ claims, request }),
    hostname: "(taken back)",
    labels: "{}",
    slot_since: null,
    waiting_since: null,
    created_at: nowMs,
    order_seq: 0,
    quarantined_at: null,
    quarantine_reason: null,
    terminated_at: null,
    end_reason: null,
    ended_at: null,
    unconfirmed_since: nowMs,
  };
  await addAgent(db, agent, firstBeat(unheard(agent), services.random));
}

/** What follows from the license. Its era is the row's: the next heartbeat is resynchronised, and brings the rest. */
const boundTo = ({ claims, request }: Pick<Claimant, "claims" | "request">) => ({
  jkt: claims.cnf.jkt,
  identity_x: request.identity_jwk.x,
  sealing_x: request.sealing_jwk.x,
  fingerprint: JSON.stringify(claims.fp),
  weak: claims.weak ? 1 : 0,
  lic: claims.lic,
  epoch: claims.epoch,
  license: request.license,
  license_terms: LICENSE_STALE,
  license_iat: claims.iat,
  license_exp: claims.exp,
  era: claims.era,
});

const unheard = ({ id, account_id }: AgentRow) => ({
  agentId: id,
  accountId: account_id,
  version: "0.0.0",
  trustSeq: 0,
});

/**
 * The agent is known with another key: it got this one by a recovery after the backup, if its license is of a later epoch.
 * The key of the backup is not taken any more, but for receipts it signed.
 */
async function replaceKey(
  db: Writer,
  known: AgentRow,
  { claims, request, nowMs }: Claimant,
  services: Services,
): Promise<void> {
  if (known.account_id !== claims.tenant || claims.epoch <= known.epoch) {
    throw refuse("another key is known for it");
  }
  if (known.terminated_at !== null) throw refuse("the agent or its key was ended");
  const agent: AgentRow = {
    ...known,
    ...boundTo({ claims, request }),
    order_seq: 0,
    quarantined_at: null,
    quarantine_reason: null,
    unconfirmed_since: nowMs,
  };
  await addRetiredKey(db, {
    ...{ jkt: known.jkt, account_id: known.account_id, agent_id: known.id, identity_x: known.identity_x },
    ...{ epoch: known.epoch, recover_seq: known.order_seq, successor: agent.jkt },
    ...{ retired_at: nowMs, license: known.license },
  });
  await saveAgent(db, agent);
  await saveBeats(db, [firstBeat(unheard(agent), services.random)]); // the chain of the key before says nothing of this one's
  await leaveSlot(db, agent, false);
}
