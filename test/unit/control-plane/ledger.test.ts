// Goal: what must outlive the database is on the disk before the database says so, and nothing else is taken for it.
// Method: a real file, cut, damaged, opened by the wrong people; summaries after reopening.

import { afterAll, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  chmodSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { LedgerFile, readLedger } from "../../../src/control-plane/data/ledger.ts";
import { isFault } from "../../../src/fault/fault.ts";
import { newAccountId } from "../../../src/protocol/ids.ts";
import { scratchDirectory } from "../../support/scratch.ts";
import { random } from "./support/control-plane.ts";

const dir = scratchDirectory("ledger");
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let count = 0;
const freshPath = () => join(dir, `${++count}.jsonl`);
const account = newAccountId(random);
const revoked = (token: string) => ({ type: "token_revoked", account, token }) as const;

function codeOf(work: () => unknown): string {
  try {
    work();
    return "done";
  } catch (error) {
    return isFault(error) ? `${error.code} ${error.message}` : String(error);
  }
}

describe("the ledger", () => {
  test("is private, keeps lines in order, and knows era, key set number and revoked keys after reopening", () => {
    const path = freshPath();
    const ledger = LedgerFile.open(path);
    ledger.append(revoked("abcdefghijkl"), 1);
    ledger.append({ type: "trust", seq: 7 }, 2);
    ledger.append({ type: "era", era: 3, backup: "a".repeat(64) as never }, 3);
    const key = {
      type: "key_revoked",
      use: "job",
      kid: "k".repeat(43),
      revoked_at: 9,
      reason: "lost",
    } as const;
    ledger.append(key, 4);
    ledger.append({ ...key, revoked_at: 99 }, 5);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    for (const known of [ledger, LedgerFile.open(path)]) {
      const { era, trustSeq, revokedKeys } = known.summary();
      expect([era, trustSeq, [...revokedKeys]]).toEqual([3, 7, [["k".repeat(43), 9]]]);
    }
    expect(readLedger(path).map(({ at }) => at)).toEqual([1, 2, 3, 4, 5]);
    expect(readLedger(freshPath())).toEqual([]);
  });

  test("cut at any byte, holds the whole lines before and goes on after them", () => {
    const path = freshPath();
    const ledger = LedgerFile.open(path);
    for (const token of ["aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"]) ledger.append(revoked(token), 1);
    const whole = readFileSync(path);
    for (let cut = 0; cut <= whole.length; cut++) {
      const at = freshPath();
      writeFileSync(at, whole.subarray(0, cut), { mode: 0o600 });
      const lines = whole.subarray(0, cut).filter((byte) => byte === 0x0a).length;
      expect(readLedger(at)).toHaveLength(lines);
      LedgerFile.open(at).append(revoked("dddddddddddd"), 2);
      expect(readLedger(at).map((line) => line.at)).toEqual([...Array<number>(lines).fill(1), 2]);
      rmSync(at);
    }
  });

  test("that was altered is refused by line", () => {
    const path = freshPath();
    LedgerFile.open(path).append(revoked("aaaaaaaaaaaa"), 1);
    appendFileSync(path, '{"v":1,"at":1,"type":"token_revoked"}\n');
    expect(codeOf(() => readLedger(path))).toContain("line 2");
    expect(codeOf(() => LedgerFile.open(path))).toBe("done"); // a start does not ask for tokens
    for (const line of ['{"v":1,"at":1,"type":"trust"}', "", '{"v":2}', "\u0000"]) {
      const other = freshPath();
      writeFileSync(other, `${readFileSync(path, "utf8")}${line}\n`, { mode: 0o600 });
      expect(codeOf(() => LedgerFile.open(other))).toContain("line 3");
    }
  });

  test("that is a link, or open to others, is not used", () => {
    const path = freshPath();
    LedgerFile.open(path);
    chmodSync(path, 0o644);
    expect(codeOf(() => LedgerFile.open(path))).toContain("its mode 0644 lets others in");
    const link = freshPath();
    symlinkSync(path, link);
    expect(codeOf(() => LedgerFile.open(link))).not.toBe("done");
  });
});
