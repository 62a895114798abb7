// Goal: a database an older program left is brought to today's schema with everything in it.
// Method: a real SQLite file at the first step, rows as that program wrote them, then every later step.

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { evidenceOf } from "../../../src/control-plane/store/anomalies.ts";
import { migrate } from "../../../src/control-plane/store/migrations.ts";
import { openSqlite } from "../../../src/control-plane/store/sqlite.ts";

const dir = mkdtempSync(join(tmpdir(), "agentina-migrations-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test("agents, jobs and what was found before are kept", async () => {
  const db = openSqlite(join(dir, "control.db"));
  await migrate(db, "0001-first");
  await sql`INSERT INTO accounts VALUES ('acc_1', 'default', '{}', 1)`.execute(db);
  await sql`INSERT INTO agents VALUES ('agt_1', 'acc_1', 'jkt', 'x', 'y', 'host', '{}', '{}', 0, 'lic_1', 1,
    'license', '[]', 1, 2, 5, NULL, 1)`.execute(db);
  await sql`INSERT INTO beats VALUES ('agt_1', 'acc_1', '{}', NULL, 3, 1, 'idle', '0.1.0', 2, 0, '[]', NULL, 7)`.execute(
    db,
  );
  await sql`INSERT INTO anomalies VALUES ('agt_1', 'chain_revoked_nonce', 'inst', 'acc_1', '{"why":"copy"}', 4, 1, 2),
    ('agt_1', 'receipt_unusable', 'sha', 'acc_1', '{"why":"torn"}', 1, 3, 3)`.execute(db);
  await migrate(db);

  const agent = await db.selectFrom("agents").selectAll().executeTakeFirstOrThrow();
  expect(agent).toMatchObject({ slot_since: 5, era: 1, order_seq: 0, quarantined_at: null, ended_at: null });
  const beat = await db.selectFrom("beats").selectAll().executeTakeFirstOrThrow();
  expect(beat).toMatchObject({ offer_seq: 3, inst: null, inst_beats: 0, seal_ctr: 0, head: null });
  const found = await db.selectFrom("anomalies").selectAll().orderBy("first_at").execute();
  expect(found).toMatchObject([
    { kind: "clone", count: 4, state: "open", epoch: 1 },
    { kind: "receipt_unusable", count: 1, state: "open" },
  ]);
  for (const { id } of found) expect(id).toMatch(/^ano_[0-9A-Za-z]{20}$/);
  expect(found.map(evidenceOf)).toEqual([
    { first: { why: "copy", subject: "inst" }, latest: [] },
    { first: { why: "torn", subject: "sha" }, latest: [] },
  ]);
  await db.destroy();
});
