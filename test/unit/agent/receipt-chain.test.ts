// Goal: receipts that were changed, cut off, exchanged or put on top are found; a journal that was never touched, is
// compacted, or goes on from where the Control Plane said, is not.
// Method: a real journal with a chain of receipts, meddled with through SQLite as somebody with its file could.

import { Database } from "bun:sqlite";
import { afterAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { Journal } from "../../../src/agent/journal.ts";
import { acceptReceipts, receiptChainFinding } from "../../../src/agent/receipt-chain.ts";
import { FIRST_PREV_SHA256 } from "../../../src/protocol/receipt.ts";
import { TYP } from "../../../src/protocol/trust.ts";
import { makeSigningKey } from "../../../src/trust/keys.ts";
import { signJws } from "../../../src/trust/sign-jws.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { scratchDirectory } from "../../support/scratch.ts";

const directory = scratchDirectory("chain");
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const { key } = await makeSigningKey();
let journals = 0;

/** A journal with `count` receipts, the first `acked` of them acknowledged. */
async function journalWith(count: number, acked = 0): Promise<string> {
  const path = join(directory, `${++journals}.db`);
  const journal = Journal.open(path);
  await append(journal, count, acked);
  journal.close();
  return path;
}

async function append(journal: Journal, count: number, acked: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const head = journal.receiptHead();
    const seq = head.seq + 1;
    const jws = await signJws(TYP.receipt, key, { v: 1, seq, prev_sha256: head.sha256 });
    const sha256 = sha256Of(jws);
    const end = { outcome: "succeeded", reason: "done", atMs: 1, logSize: null } as const;
    journal.finish({ jti: `job_${seq}` as never, attempt: 1 }, end, { seq, sha256, jws });
    if (i < acked) journal.acknowledge(sha256, 1);
  }
}

function found(path: string): string | null {
  const journal = Journal.open(path, "read");
  try {
    return receiptChainFinding(journal)?.what ?? null;
  } finally {
    journal.close();
  }
}

/** Accepts what `path` holds, and goes on from there. */
async function accepted(path: string): Promise<{ found: string | null; seqs: readonly number[] }> {
  const journal = Journal.open(path);
  acceptReceipts(journal);
  await append(journal, 1, 0);
  const seqs = journal.receipts().map(({ seq }) => seq);
  journal.close();
  return { found: found(path), seqs };
}

let last = "";
async function meddled(sql: string, count = 5, acked = 2): Promise<string | null> {
  const path = await journalWith(count, acked);
  const db = new Database(path, { readwrite: true });
  db.run(sql);
  db.close();
  last = path;
  return found(path);
}

describe("a journal nobody touched", () => {
  test("is in order: empty, with receipts owed, with all acknowledged, with more than a beat takes", async () => {
    for (const [count, acked] of [
      [0, 0],
      [1, 0],
      [5, 5],
      [40, 3],
    ] as const) {
      expect(found(await journalWith(count, acked))).toBeNull();
    }
  });

  test("is in order when its older receipts are gone, and when it was told where to go on", async () => {
    expect(await meddled("DELETE FROM receipts WHERE seq <= 2")).toBeNull();
    const path = await journalWith(3, 3);
    const journal = Journal.open(path);
    journal.continueReceipts({ seq: 9, sha256: sha256Of("what the Control Plane has") });
    journal.close();
    expect(found(path)).toBeNull();
    const again = Journal.open(path);
    await append(again, 2, 0);
    again.close();
    expect(found(path)).toBeNull();
  });
});

test.each([
  ["a receipt that is owed was changed", "UPDATE receipts SET jws = jws || 'A' WHERE seq = 4", /receipt 4/],
  [
    "one was exchanged for another",
    "UPDATE receipts SET jws = (SELECT jws FROM receipts WHERE seq = 3), sha256 = 'x' WHERE seq = 4",
    /receipt 4/,
  ],
  [
    "the one before was exchanged",
    "UPDATE receipts SET sha256 = 'x' WHERE seq = 2",
    /receipt 3 does not build/,
  ],
  ["the newest is gone", "DELETE FROM receipts WHERE seq = 5", /receipt 5, its newest, is missing/],
  ["all are gone", "DELETE FROM receipts", /receipt 5, its newest, is missing/],
  ["the newest is acknowledged and changed", "UPDATE receipts SET jws = 'a.b.c', acked_at = 1", /receipt 5/],
  ["the head was taken away", "DELETE FROM meta WHERE key = 'receipt_head'", /above its head, 0/],
  [
    "the head was set back",
    `UPDATE meta SET value = '{"seq":4,"sha256":"${FIRST_PREV_SHA256}"}' WHERE key = 'receipt_head'`,
    /above its head, 4/,
  ],
  [
    "the head was set ahead",
    `UPDATE meta SET value = '{"seq":8,"sha256":"${FIRST_PREV_SHA256}"}' WHERE key = 'receipt_head'`,
    /receipt 8, its newest, is missing/,
  ],
  [
    "the head is garbage",
    "UPDATE meta SET value = '{' WHERE key = 'receipt_head'",
    /its head cannot be read/,
  ],
])("%s: it is altered", async (_, sql, what) => {
  expect(await meddled(sql)).toMatch(what);
});

// The newest receipt is number 5: whatever is left of it, no second one of that number is ever made.
test.each([
  ["UPDATE receipts SET jws = jws || 'A' WHERE seq = 4", [1, 2, 3, 5, 6]],
  ["UPDATE receipts SET jws = jws || 'A' WHERE seq = 5", [1, 2, 3, 4, 6]],
  ["UPDATE receipts SET sha256 = 'x' WHERE seq = 2", [1, 3, 4, 5, 6]],
  ["DELETE FROM receipts WHERE seq = 5", [1, 2, 3, 4, 6]],
  ["DELETE FROM receipts", [6]],
  ["DELETE FROM meta WHERE key = 'receipt_head'", [1, 2, 3, 4, 5, 6]],
  [
    `UPDATE meta SET value = '{"seq":8,"sha256":"${FIRST_PREV_SHA256}"}' WHERE key = 'receipt_head'`,
    [1, 2, 3, 4, 5, 9],
  ],
  ["UPDATE receipts SET jti = jti", [1, 2, 3, 4, 5, 6]],
])("accepted after %s, it is in order and goes on", async (sql, seqs) => {
  await meddled(sql);
  expect(await accepted(last)).toEqual({ found: null, seqs });
});
