import type { AccountId, Sha256 } from "../../protocol/ids.ts";
import type { Reader, Writer } from "./schema.ts";

/** Notes a blob that is on disk. */
export async function addBlob(
  db: Writer,
  accountId: AccountId,
  blob: { readonly sha256: Sha256; readonly size: number; readonly nowMs: number },
): Promise<void> {
  await db
    .insertInto("blobs")
    .values({ account_id: accountId, sha256: blob.sha256, size: blob.size, created_at: blob.nowMs })
    .onConflict((conflict) => conflict.columns(["account_id", "sha256"]).doNothing())
    .execute();
}

/** Size of one of the account's blobs; null when it has none such. */
export async function blobSize(db: Reader, accountId: AccountId, sha256: Sha256): Promise<number | null> {
  const row = await db
    .selectFrom("blobs")
    .select("size")
    .where("account_id", "=", accountId)
    .where("sha256", "=", sha256)
    .executeTakeFirst();
  return row?.size ?? null;
}
