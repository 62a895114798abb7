import type { AccountId, AgentId } from "../../protocol/ids.ts";
import type { Reader, TokenRow, Writer } from "./schema.ts";

export async function addToken(
  db: Writer,
  accountId: AccountId,
  token: Pick<TokenRow, "id" | "secret_sha256" | "label" | "created_at" | "expires_at">,
): Promise<void> {
  await db
    .insertInto("activation_tokens")
    .values({
      ...token,
      account_id: accountId,
      revoked_at: null,
      redeemed_by: null,
      redeemed_at: null,
      agent_id: null,
    })
    .execute();
}

/** The one look-up without an account: the token is what tells it. */
export async function tokenById(db: Reader, id: string): Promise<TokenRow | null> {
  const row = await db.selectFrom("activation_tokens").selectAll().where("id", "=", id).executeTakeFirst();
  return row ?? null;
}

export async function markRedeemed(
  db: Writer,
  accountId: AccountId,
  id: string,
  by: { readonly jkt: string; readonly agentId: AgentId; readonly nowMs: number },
): Promise<void> {
  await db
    .updateTable("activation_tokens")
    .set({ redeemed_by: by.jkt, redeemed_at: by.nowMs, agent_id: by.agentId })
    .where("account_id", "=", accountId)
    .where("id", "=", id)
    .execute();
}

/** Revokes a token that has not been redeemed; false when there is none such. */
export async function revokeToken(
  db: Writer,
  accountId: AccountId,
  id: string,
  nowMs: number,
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable("activation_tokens")
    .set({ revoked_at: nowMs })
    .where("account_id", "=", accountId)
    .where("id", "=", id)
    .where("redeemed_by", "is", null)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}
