import { parse } from "valibot";
import type { Plan } from "../../protocol/api.ts";
import { type AccountId, AccountIdSchema } from "../../protocol/ids.ts";
import type { Reader, Writer } from "./schema.ts";

/** A value that speaks of the installation as a whole, made by `make` if there is none yet. */
export async function metaValue(db: Writer, key: string, make: () => string): Promise<string> {
  const found = await db.selectFrom("meta").select("value").where("key", "=", key).executeTakeFirst();
  if (found !== undefined) return found.value;
  const value = make();
  await db.insertInto("meta").values({ key, value }).execute();
  return value;
}

/** The account of a single-account installation, made by `make` at the first start. */
export async function defaultAccount(
  db: Writer,
  make: () => { readonly id: AccountId; readonly plan: Plan },
  nowMs: number,
): Promise<AccountId> {
  const known = await db
    .selectFrom("meta")
    .select("value")
    .where("key", "=", "default_account")
    .executeTakeFirst();
  if (known !== undefined) return parse(AccountIdSchema, known.value);
  const { id, plan } = make();
  await db
    .insertInto("accounts")
    .values({ id, name: "default", plan: JSON.stringify(plan), created_at: nowMs })
    .execute();
  await db.insertInto("meta").values({ key: "default_account", value: id }).execute();
  return id;
}

export async function planOf(db: Reader, accountId: AccountId): Promise<Plan> {
  const row = await db
    .selectFrom("accounts")
    .select("plan")
    .where("id", "=", accountId)
    .executeTakeFirstOrThrow();
  return readPlan(row.plan);
}

/** The plans of several accounts, by id. */
export async function plansOf(
  db: Reader,
  accountIds: readonly AccountId[],
): Promise<ReadonlyMap<AccountId, Plan>> {
  const rows = await db.selectFrom("accounts").select(["id", "plan"]).where("id", "in", accountIds).execute();
  return new Map(rows.map(({ id, plan }) => [id, readPlan(plan)]));
}

export async function savePlan(db: Writer, accountId: AccountId, plan: Plan): Promise<void> {
  await db
    .updateTable("accounts")
    .set({ plan: JSON.stringify(plan) })
    .where("id", "=", accountId)
    .execute();
}

/** Our own text, checked when it was written. */
const readPlan = (text: string): Plan => JSON.parse(text) as Plan;
