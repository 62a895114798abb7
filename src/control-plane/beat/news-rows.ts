import type { LicenseId } from "../../protocol/ids.ts";
import type { KeyRing } from "../keys/keyring.ts";
import { signEnvelope } from "../queue/envelope.ts";
import { jobAfter } from "../queue/job-table.ts";
import type { Provision } from "../secrets/provide.ts";
import type { AgentRecord } from "../store/agents.ts";
import type { JobRow } from "../store/schema.ts";
import type { BeatInput } from "./beat-input.ts";
import type { BeatNews } from "./decide-beat.ts";
import type { BeatFinding } from "./findings.ts";
import type { World } from "./world.ts";

/** Puts what the beat said into the world. */
export function noteNews(world: World, { accountId, agentId, nowMs }: BeatInput, news: BeatNews): void {
  for (const job of changedBy(news)) world.putJob(job);
  for (const job of news.leased) world.openLog(job);
  for (const { receipt, decides } of news.receipts) {
    const { claims, jws, sha256 } = receipt;
    const { jti: job, attempt } = claims;
    world.putReceipt({
      sha256,
      account_id: accountId,
      agent_id: agentId,
      job_id: job,
      attempt,
      seq: claims.seq,
      prev_sha256: claims.prev_sha256,
      jws,
      decided: decides ? 1 : 0,
      received_at: nowMs,
    });
    const log = { size: claims.log?.size ?? 0, sha256: claims.log?.sha256 ?? null };
    world.tellLog({ accountId, job, attempt, agentId, nowMs, ...log });
  }
}

/** Receipts that do not verify, as one finding. */
export function unusableFinding({ unusable }: BeatNews): BeatFinding[] {
  const [first] = unusable;
  if (first === undefined) return [];
  const receipts = unusable.map(({ sha256, why }) => ({ sha256, why }));
  const what = `a receipt of it cannot be used: ${first.why}`;
  return [{ kind: "receipt_unusable", evidence: { what, receipts } }];
}

export const changedBy = (news: BeatNews): JobRow[] =>
  [...news.changed].flatMap((id) => news.jobs.get(id) ?? []);

/** Signs each offer for the agent, numbered on from the last one. */
export async function signOffers(
  offers: Provision["offers"],
  { agent, beat }: AgentRecord,
  ring: KeyRing,
  nowMs: number,
): Promise<{ jws: string; job: JobRow }[]> {
  const nowS = Math.floor(nowMs / 1000);
  const key = ring.signer("job", nowS);
  const { id: agentId, epoch } = agent;
  const to = { issuer: ring.claims.iss, agentId, lic: agent.lic as LicenseId, epoch };
  return await Promise.all(
    offers.map(async ({ job, secrets }, index) => {
      const seq = beat.offer_seq + 1 + index;
      const { jws, sha256 } = await signEnvelope(job, secrets, { ...to, seq }, key, nowS);
      const change = jobAfter(job, { type: "offered", agentId, envelope: sha256, nowMs });
      return { jws, job: { ...job, ...change } };
    }),
  );
}
