// Goal: a full disk is told as what it is, at whatever depth it was met, and undoes what it interrupted.
// Method: a real SQLite file that may not grow, and the real application around routes that meet a full disk.

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { createApp } from "../../../src/control-plane/api/app.ts";
import type { Route } from "../../../src/control-plane/api/route.ts";
import type { Services } from "../../../src/control-plane/api/services.ts";
import { DpopNonces } from "../../../src/control-plane/auth/dpop-nonce.ts";
import { openSqlite } from "../../../src/control-plane/store/sqlite.ts";
import { fault } from "../../../src/fault/fault.ts";

const dir = mkdtempSync(join(tmpdir(), "agentina-full-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test("a transaction the full disk has ended says so, leaves nothing, and the next one works", async () => {
  const db = openSqlite(join(dir, "full.db"));
  await sql`CREATE TABLE kept (text TEXT)`.execute(db);
  await sql`PRAGMA max_page_count = 20`.execute(db);
  const flood = db.transaction().execute(async (trx) => {
    await sql`INSERT INTO kept VALUES ('before')`.execute(trx);
    await sql`INSERT INTO kept VALUES (${"x".repeat(1_000_000)})`.execute(trx);
  });
  await expect(flood).rejects.toThrow("database or disk is full");
  const count = sql<{ n: number }>`SELECT count(*) AS n FROM kept`;
  expect((await count.execute(db)).rows[0]?.n).toBe(0);
  await db.transaction().execute(async (trx) => {
    await sql`INSERT INTO kept VALUES ('after')`.execute(trx);
  });
  expect((await count.execute(db)).rows[0]?.n).toBe(1);
  await db.destroy();
});

const BINDINGS = { server: { requestIP: () => null } };
const system = (code: string) => Object.assign(new Error(`${code}: write`), { code });
test.each([
  ["a file's ENOSPC", system("ENOSPC"), "CONTROL_DISK_FULL"],
  ["a file's EDQUOT", system("EDQUOT"), "CONTROL_DISK_FULL"],
  ["the database's word", new Error("database or disk is full"), "CONTROL_DISK_FULL"],
  [
    "either inside another failure",
    fault("CONTROL_DATABASE", { why: "x" }, new Error("database or disk is full")),
    "CONTROL_DISK_FULL",
  ],
  [
    "another failure, which stays what it is",
    fault("CONTROL_DATABASE", { why: "locked" }),
    "CONTROL_DATABASE",
  ],
])("%s", async (_, error, code) => {
  const route = {
    method: "GET",
    path: "/full",
    who: "public",
    body: { type: "none" },
    query: [],
    handle: () => Promise.reject(error),
  } as unknown as Route;
  const nonces = new DpopNonces(new Uint8Array(32));
  const services = { log: () => undefined, nowMs: Date.now, nonces } as unknown as Services;
  const response = await createApp([route], services).request("http://127.0.0.1/full", {}, BINDINGS);
  expect([response.status, response.headers.get("retry-after")]).toEqual([503, "5"]);
  expect(((await response.json()) as { code: string }).code).toBe(code);
});
