import type { AccountId } from "../../protocol/ids.ts";
import { SETTINGS } from "../settings.ts";
import type { Writer } from "./schema.ts";

export interface ProofEntry {
  readonly accountId: AccountId;
  readonly proof: string;
  readonly nowMs: number;
}

/** Writes proofs down and answers which of them nobody had shown before; those not answered are replays. */
export async function recordProofs(db: Writer, entries: readonly ProofEntry[]): Promise<ReadonlySet<string>> {
  const rows = await db
    .insertInto("dpop_proofs")
    .values(
      entries.map(({ accountId, proof, nowMs }) => ({
        proof,
        account_id: accountId,
        expires_at: nowMs + SETTINGS.PROOF_KEPT_MS,
      })),
    )
    .onConflict((conflict) => conflict.column("proof").doNothing())
    .returning("proof")
    .execute();
  return new Set(rows.map(({ proof }) => proof));
}

/** Forgets the proofs of every account that are too old to be accepted anyway. */
export async function forgetProofs(db: Writer, nowMs: number): Promise<void> {
  await db.deleteFrom("dpop_proofs").where("expires_at", "<", nowMs).execute();
}
