// Goal: the journal opens what is one and names what is not, keeps what it must and forgets the rest, and lets our own
// defects show as defects.
// Method: real files, good, damaged and foreign.

import { Database } from "bun:sqlite";
import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ChainPosition, Journal } from "../../../src/agent/journal.ts";
import { isFault } from "../../../src/fault/fault.ts";
import type { JobClaims } from "../../../src/protocol/job.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { FIRST_PREV_SHA256 } from "../../../src/protocol/receipt.ts";
import type { VerifiedJob } from "../../../src/trust/job.ts";
import { admit, EMPTY_WINDOW } from "../../../src/trust/replay-window.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { Authority, anySigningKey } from "../../support/authority.ts";
import { scratchDirectory } from "../../support/scratch.ts";

const dir = scratchDirectory("journal");
afterAll(() => rmSync(dir, { recursive: true, force: true }));
let files = 0;
const fresh = () => join(dir, `${++files}.db`);
const authority = await Authority.make(() => 1_768_478_400);
await authority.enrol(`agt_${"a".repeat(20)}` as Authority["agent"]["id"], (await anySigningKey()).jwk);

const codeOf = (work: () => unknown): string => {
  try {
    work();
    return "none";
  } catch (error) {
    return isFault(error) ? error.code : String(error);
  }
};

/** Writes an attempt and its receipt of about `bytes`, as a run leaves them. */
function end(journal: Journal, claims: JobClaims, bytes = 100): string {
  const job = { claims, envelopeSha256: sha256Of(claims.jti) } as VerifiedJob; // the journal is tried, not the checks
  journal.acceptJob(job, { scope: claims.scope, limits: claims.limits, limits_enforced: "weak" }, claims.seq);
  journal.advance({ ...claims, state: "accepted" }, "abandon");
  const { seq } = journal.receiptHead();
  const jws = `${seq + 1}.${"r".repeat(bytes)}`;
  const receipt = { seq: seq + 1, sha256: sha256Of(jws), jws };
  journal.finish(claims, { outcome: "succeeded", reason: "tests_passed", atMs: 5, logSize: null }, receipt);
  return receipt.sha256;
}

describe("a journal", () => {
  test("is made for its owner alone", () => {
    const path = fresh();
    const journal = Journal.open(path);
    journal.setChain({ n: 1, nonce: "x" });
    for (const suffix of ["", "-wal", "-shm"]) expect(statSync(`${path}${suffix}`).mode & 0o777).toBe(0o600);
    journal.close();
  });

  test("keeps its values over a close", () => {
    const path = fresh();
    const before = Journal.open(path);
    const chain: ChainPosition = { n: 7, nonce: "n".repeat(22) };
    const admission = admit(EMPTY_WINDOW, 12);
    if (!admission.ok) throw new Error("not admitted");
    before.setChain(chain);
    before.setWindow(admission.window, 1);
    before.writeMeta("slot", JSON.stringify({ held: false, position: 2, max_agents: 1 }));
    before.close();
    const after = Journal.open(path);
    expect(after.chain()).toEqual(chain);
    expect(after.window(1)).toEqual(admission.window);
    expect(after.slot()).toEqual({ held: false, position: 2, max_agents: 1 });
    after.close();
  });

  test("new, holds nothing", () => {
    const journal = Journal.open(fresh());
    expect([journal.chain(), journal.slot(), journal.window(1)]).toEqual([null, null, EMPTY_WINDOW]);
    expect(journal.receiptHead()).toEqual({ seq: 0, sha256: FIRST_PREV_SHA256 });
    expect([journal.openReceipts(), journal.rejected(), journal.unsentLogs()]).toEqual([[], [], []]);
    journal.close();
  });
});

describe("what is no journal", () => {
  const spoilt: Readonly<Record<string, readonly [string, (path: string) => void]>> = {
    "a text": [
      "JOURNAL_UNUSABLE",
      (path) => writeFileSync(path, "not a database, whatever its name ".repeat(200)),
    ],
    "of a later version": [
      "STATE_FORMAT_NEWER",
      (path) => {
        const db = new Database(path);
        db.run("PRAGMA user_version = 9");
        db.close();
      },
    ],
  };
  for (const [name, [code, make]] of Object.entries(spoilt)) {
    test(`${name} is told as ${code}, to a reader and to a writer`, () => {
      const path = fresh();
      make(path);
      expect(codeOf(() => Journal.open(path, "read"))).toBe(code);
      expect(codeOf(() => Journal.open(path))).toBe(code);
    });
  }

  test("one that a start was cut in is nothing to read, and made whole by the next start", () => {
    const path = fresh();
    const db = new Database(path);
    db.run("PRAGMA journal_mode = WAL");
    db.close();
    expect(codeOf(() => Journal.open(path, "read"))).toBe("JOURNAL_UNUSABLE");
    Journal.open(path).close();
    Journal.open(path, "read").close();
  });

  test("damaged in its middle is a fault when it is read, not a crash", () => {
    const path = fresh();
    const journal = Journal.open(path);
    for (let i = 0; i < 200; i++) end(journal, authority.jobClaims());
    journal.close();
    const { size } = statSync(path);
    const bytes = readFileSync(path);
    bytes.fill(0xa5, 4096, size); // the header page stays
    writeFileSync(path, bytes);
    expect(codeOf(() => Journal.open(path).jobsIn(["finished"]))).toBe("JOURNAL_UNUSABLE");
  });

  test("a value in it that nobody wrote is a fault, not a crash", () => {
    const journal = Journal.open(fresh());
    journal.writeMeta("chain", '{"n":"one"}');
    journal.writeMeta("slot", "held");
    journal.writeMeta("window", "{}");
    for (const read of [() => journal.chain(), () => journal.slot(), () => journal.window(1)]) {
      expect(codeOf(read)).toBe("JOURNAL_UNUSABLE");
    }
    journal.close();
  });
});

describe("a defect of ours", () => {
  test("in a transaction is not taken for the disk's, and undoes it all the same", () => {
    const journal = Journal.open(fresh());
    const claims = authority.jobClaims();
    const work = () =>
      journal.atomically(() => {
        journal.writeMeta("interval_s", "30");
        journal.addJob(claims, "e", "finished", 1);
        journal.advance({ ...claims, state: "finished" }, "start");
      });
    expect(codeOf(work)).toContain("Invariant broken");
    expect(journal.readMeta("interval_s")).toBeNull();
    expect(journal.job(claims.jti, 1)).toBeNull();
    journal.close();
  });

  test("a receipt out of its turn", () => {
    const journal = Journal.open(fresh());
    const claims = authority.jobClaims();
    journal.addJob(claims, "e", "finished", 1);
    const finish = () =>
      journal.finish(
        claims,
        { outcome: "failed", reason: "x", atMs: 1, logSize: null },
        {
          seq: 2,
          sha256: sha256Of("r"),
          jws: "r",
        },
      );
    expect(codeOf(finish)).toContain("Invariant broken");
    journal.close();
  });
});

describe("what a beat carries", () => {
  test("is at most sixteen receipts and a mebibyte, oldest first, and always one", () => {
    const journal = Journal.open(fresh());
    for (let i = 0; i < 20; i++) end(journal, authority.jobClaims());
    expect(journal.openReceipts().map(({ seq }) => seq)).toEqual(
      Array.from({ length: 16 }, (_, index) => index + 1),
    );
    for (const { sha256 } of journal.openReceipts()) journal.acknowledge(sha256, 1);
    for (const { sha256 } of journal.openReceipts()) journal.acknowledge(sha256, 1);
    for (let i = 0; i < 3; i++) end(journal, authority.jobClaims(), 400_000);
    expect(journal.openReceipts().map(({ seq }) => seq)).toEqual([21, 22]);
    for (const { sha256 } of journal.openReceipts()) journal.acknowledge(sha256, 1);
    end(journal, authority.jobClaims(), 2_000_000);
    for (const { sha256 } of journal.openReceipts()) journal.acknowledge(sha256, 1);
    expect(journal.openReceipts().map(({ seq }) => seq)).toEqual([24]);
    journal.close();
  });

  test("an acknowledgement of something unknown changes nothing, and twice is once", () => {
    const journal = Journal.open(fresh());
    const claims = authority.jobClaims();
    const sha256 = end(journal, claims);
    journal.acknowledge(sha256Of("unknown"), 1);
    expect(journal.job(claims.jti, 1)?.state).toBe("finished");
    journal.acknowledge(sha256, 1);
    journal.acknowledge(sha256, 2);
    expect(journal.job(claims.jti, 1)?.state).toBe("delivered");
    journal.close();
  });

  test("is at most as many rejections as the wire has room for", () => {
    const journal = Journal.open(fresh());
    journal.atomically(() => {
      for (let i = 0; i < 200; i++) journal.addRejected(sha256Of(String(i)), "JWS_MALFORMED");
    });
    expect(journal.rejected()).toHaveLength(LIMITS.BEAT_REJECTED);
    journal.close();
  });
});

describe("compaction", () => {
  test("keeps the newest thousand and whatever is not delivered or whose log is not sent", () => {
    const path = fresh();
    const journal = Journal.open(path);
    journal.atomically(() => {
      for (let i = 0; i < 1_200; i++) {
        const sha256 = end(journal, authority.jobClaims());
        if (i !== 3) journal.acknowledge(sha256, 1);
      }
    });
    const db = new Database(path);
    db.run(
      "UPDATE jobs SET log_size = 10, log_sent = 4 WHERE accepted_at = (SELECT min(accepted_at) FROM jobs)",
    );
    db.close();
    const taken = Math.max(...journal.jobsIn(["finished", "delivered"]).map(({ acceptedAt }) => acceptedAt));
    journal.compact(taken + 1_000_000);
    expect(journal.jobsIn(["finished", "delivered"])).toHaveLength(1_200); // their envelopes could still be shown
    const later = taken + 1_100_000;
    journal.compact(later);
    const rows = journal.jobsIn(["finished", "delivered"]);
    expect(rows).toHaveLength(1_002);
    expect(rows.filter(({ state }) => state === "finished")).toHaveLength(1);
    expect(journal.unsentLogs()).toHaveLength(1);
    expect(journal.openReceipts()).toHaveLength(1);
    expect(journal.receiptHead().seq).toBe(1_200);
    journal.compact(later);
    expect(journal.jobsIn(["finished", "delivered"])).toHaveLength(1_002);
    journal.close();
  });
});
