import { type Kysely, sql } from "kysely";
import { fault, isFault, reasonOf } from "../../fault/fault.ts";
import { SETTINGS } from "../settings.ts";
import { GroupCommit, type Settled } from "./group-commit.ts";
import { migrate } from "./migrations.ts";
import type { Reader, Tables, Writer } from "./schema.ts";
import { openSqlite } from "./sqlite.ts";

/** Does every beat of a group in the transaction it is given; one beat's failure is its own. */
export type ApplyBeats<Input, Outcome> = (
  db: Writer,
  inputs: readonly Input[],
) => Promise<readonly Settled<Outcome>[]>;

/**
 * The database. Reads go to `db`; every write goes through `write` or `beat`, which put what arrives together into one
 * durable transaction. There is never a second writer.
 */
export interface Store<Input, Outcome> {
  readonly db: Reader;
  /** Runs `work` in a transaction shared with others; its own throw undoes only what it did. */
  write<T>(work: (db: Writer) => Promise<T>): Promise<T>;
  beat(input: Input): Promise<Outcome>;
  close(): Promise<void>;
}

type Operation<Input> =
  | { readonly type: "beat"; readonly input: Input }
  | { readonly type: "write"; readonly work: (db: Writer) => Promise<unknown> };

/** Opens the database file, brings it to today's schema, and starts its writer. */
export async function openStore<Input, Outcome>(
  path: string,
  applyBeats: ApplyBeats<Input, Outcome>,
): Promise<Store<Input, Outcome>> {
  const db = openSqlite(path);
  try {
    await migrate(db);
  } catch (error) {
    await db.destroy();
    throw error;
  }
  const writer = new GroupCommit<Operation<Input>, unknown>({
    maxItems: SETTINGS.GROUP_WRITES,
    waitMs: SETTINGS.GROUP_WAIT_MS,
    apply: (operations) => commitGroup(db, operations, applyBeats),
  });
  return {
    db,
    write: async <T>(work: (trx: Writer) => Promise<T>) =>
      (await writer.submit({ type: "write", work })) as T,
    beat: async (input) => (await writer.submit({ type: "beat", input })) as Outcome,
    close: async () => {
      await writer.close();
      await db.destroy();
    },
  };
}

async function commitGroup<Input, Outcome>(
  db: Kysely<Tables>,
  operations: readonly Operation<Input>[],
  applyBeats: ApplyBeats<Input, Outcome>,
): Promise<readonly Settled<unknown>[]> {
  try {
    return await db.transaction().execute(async (trx) => {
      const inputs = operations.flatMap((operation) => (operation.type === "beat" ? [operation.input] : []));
      const beats = inputs.length === 0 ? [] : await beatsOf(trx, inputs, applyBeats);
      const results: Settled<unknown>[] = [];
      for (const operation of operations) {
        if (operation.type === "write") results.push(await inSavepoint(trx, operation.work));
        else
          results.push(beats.shift() ?? { ok: false, error: new Error("a beat was left without a result") });
      }
      return results;
    });
  } catch (error) {
    throw isFault(error) ? error : fault("CONTROL_DATABASE", { why: reasonOf(error) }, error);
  }
}

/** All beats together; should the database refuse them as a whole, each by itself, so that one cannot fail another. */
async function beatsOf<Input, Outcome>(
  trx: Writer,
  inputs: readonly Input[],
  applyBeats: ApplyBeats<Input, Outcome>,
): Promise<Settled<Outcome>[]> {
  const together = await inSavepoint(trx, (db) => applyBeats(db, inputs));
  if (together.ok) return [...together.value];
  const results: Settled<Outcome>[] = [];
  for (const input of inputs) {
    const alone = await inSavepoint(trx, (db) => applyBeats(db, [input]));
    results.push(alone.ok ? (alone.value[0] ?? together) : alone);
  }
  return results;
}

async function inSavepoint<T>(trx: Writer, work: (db: Writer) => Promise<T>): Promise<Settled<T>> {
  await sql`savepoint one_of_group`.execute(trx);
  try {
    const value = await work(trx);
    await sql`release savepoint one_of_group`.execute(trx);
    return { ok: true, value };
  } catch (error) {
    await sql`rollback to savepoint one_of_group`.execute(trx);
    await sql`release savepoint one_of_group`.execute(trx);
    return { ok: false, error };
  }
}
