import type { AccountId } from "../../protocol/ids.ts";
import type { Reader, SecretRow, Writer } from "./schema.ts";

/** The account's secrets, by name. */
export async function listSecrets(db: Reader, accountId: AccountId): Promise<SecretRow[]> {
  return await db
    .selectFrom("secrets")
    .selectAll()
    .where("account_id", "=", accountId)
    .orderBy("name")
    .execute();
}

/** Those of `names` that the account has. */
export async function secretsNamed(
  db: Reader,
  accountId: AccountId,
  names: readonly string[],
): Promise<Map<string, SecretRow>> {
  if (names.length === 0) return new Map();
  const rows = await db
    .selectFrom("secrets")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("name", "in", [...new Set(names)])
    .execute();
  return new Map(rows.map((row) => [row.name, row]));
}

/** How many there are, of every account together. */
export async function countSecrets(db: Reader): Promise<number> {
  const row = await db
    .selectFrom("secrets")
    .select((eb) => eb.fn.countAll<number>().as("secrets"))
    .executeTakeFirst();
  return Number(row?.secrets ?? 0);
}

/** Writes a secret over whatever it was before. */
export async function putSecret(db: Writer, row: SecretRow): Promise<void> {
  const { box, kinds, labels, updated_at } = row;
  await db
    .insertInto("secrets")
    .values(row)
    .onConflict((conflict) =>
      conflict.columns(["account_id", "name"]).doUpdateSet({ box, kinds, labels, updated_at }),
    )
    .execute();
}

/** False when there was none. */
export async function removeSecret(db: Writer, accountId: AccountId, name: string): Promise<boolean> {
  const { numDeletedRows } = await db
    .deleteFrom("secrets")
    .where("account_id", "=", accountId)
    .where("name", "=", name)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}
