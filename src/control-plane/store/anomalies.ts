import { sql } from "kysely";
import type { AccountId, AgentId } from "../../protocol/ids.ts";
import type { Writer } from "./schema.ts";

/** Something that should not happen, as it is found. */
export interface Finding {
  readonly accountId: AccountId;
  readonly agentId: AgentId;
  readonly kind: string;
  /** What it is about: an instance, a receipt. The same kind and subject again is counted, not listed. */
  readonly subject: string;
  readonly evidence: Readonly<Record<string, unknown>>;
  readonly nowMs: number;
}

export async function recordFinding(db: Writer, finding: Finding): Promise<void> {
  const evidence = JSON.stringify(finding.evidence);
  await db
    .insertInto("anomalies")
    .values({
      agent_id: finding.agentId,
      kind: finding.kind,
      subject: finding.subject,
      account_id: finding.accountId,
      evidence,
      count: 1,
      first_at: finding.nowMs,
      last_at: finding.nowMs,
    })
    .onConflict((conflict) =>
      conflict
        .columns(["agent_id", "kind", "subject"])
        .doUpdateSet({ count: sql<number>`anomalies.count + 1`, evidence, last_at: finding.nowMs }),
    )
    .execute();
}
