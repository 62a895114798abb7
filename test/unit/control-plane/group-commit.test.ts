// Goal: what arrives together is made durable together, and one bad item spoils nothing for the others.
// Method: the group writer with a recorded apply; the store with real SQLite, works and beats that throw.

import { afterEach, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GroupCommit } from "../../../src/control-plane/store/group-commit.ts";
import { openStore } from "../../../src/control-plane/store/store.ts";

const directories: string[] = [];
afterEach(async () => {
  for (const path of directories.splice(0)) await rm(path, { recursive: true, force: true });
});

describe("a group", () => {
  test("takes what arrives within its moment, up to its size, one at a time", async () => {
    const groups: number[][] = [];
    let busy = 0;
    const writer = new GroupCommit<number, number>({
      maxItems: 4,
      waitMs: 2,
      apply: async (items) => {
        expect(++busy).toBe(1);
        groups.push([...items]);
        await Bun.sleep(1);
        busy--;
        return items.map((item) => ({ ok: true, value: item * 2 }));
      },
    });
    const results = await Promise.all([1, 2, 3, 4, 5, 6].map((item) => writer.submit(item)));
    expect(results).toEqual([2, 4, 6, 8, 10, 12]);
    expect(groups).toEqual([
      [1, 2, 3, 4],
      [5, 6],
    ]);
  });

  test("fails as one only when its work does, and the next is served again", async () => {
    let broken = true;
    const writer = new GroupCommit<number, number>({
      maxItems: 4,
      waitMs: 1,
      apply: async (items) => {
        if (broken) throw new Error("disk full");
        return items.map((item) =>
          item === 2 ? { ok: false, error: new Error("two") } : { ok: true, value: item },
        );
      },
    });
    const failed = await Promise.allSettled([writer.submit(1), writer.submit(2)]);
    expect(failed.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    broken = false;
    const mixed = await Promise.allSettled([writer.submit(1), writer.submit(2), writer.submit(3)]);
    expect(mixed.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    await writer.close();
    await expect(writer.submit(1)).rejects.toThrow("closed");
  });
});

describe("the store", () => {
  test("undoes a write that throws and keeps its neighbours", async () => {
    const store = await openStore<never, never>(await databasePath(), async () => []);
    const set = (key: string, then?: Error) =>
      store.write(async (db) => {
        await db.insertInto("meta").values({ key, value: "1" }).execute();
        if (then !== undefined) throw then;
        return key;
      });
    const settled = await Promise.allSettled([set("a"), set("b", new Error("no")), set("a"), set("c")]);
    expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected", "fulfilled"]);
    const rows = await store.db.selectFrom("meta").select("key").orderBy("key").execute();
    expect(rows.map(({ key }) => key)).toEqual(["a", "c"]);
    await store.close();
  });

  test("gives each beat a turn of its own when the database refuses them together", async () => {
    const applied: number[][] = [];
    const store = await openStore<number, number>(await databasePath(), async (db, inputs) => {
      applied.push([...inputs]);
      for (const input of inputs) {
        const key = input === 2 ? null : String(input);
        await db
          .insertInto("meta")
          .values({ key: key as string, value: "1" })
          .execute();
      }
      return inputs.map((value) => ({ ok: true, value }));
    });
    const settled = await Promise.allSettled([1, 2, 3].map((input) => store.beat(input)));
    expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(applied).toEqual([[1, 2, 3], [1], [2], [3]]);
    const rows = await store.db.selectFrom("meta").select("key").orderBy("key").execute();
    expect(rows.map(({ key }) => key)).toEqual(["1", "3"]);
    await store.close();
  });
});

async function databasePath(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "agentina-store-"));
  directories.push(directory);
  return join(directory, "control.db");
}
