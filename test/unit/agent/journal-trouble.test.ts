// Goal: a reply is taken whole or not at all: a disk that fills up or turns read-only in its middle leaves the journal as it
// was, nothing of the reply has an effect, and the same beat, sent again, brings it all.
// Method: the real loop; the journal's own connection is given a page limit, made read-only, or made to fail at each of
// its writes in turn; the journal's whole content is compared.

import type { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { fault } from "../../../src/fault/fault.ts";
import { World } from "./world.ts";

interface Inside {
  readonly db: Database;
  write: (sql: string, values: unknown[]) => void;
}
const inside = (world: World) => world.journal as unknown as Inside;

/** Everything the journal holds, but for the two notes that are written by themselves. */
function contents(world: World): string {
  const { db } = inside(world);
  return JSON.stringify([
    db.query("SELECT * FROM meta WHERE key NOT IN ('pending_rid', 'last_failure') ORDER BY key").all(),
    db.query("SELECT * FROM jobs ORDER BY jti").all(),
    db.query("SELECT * FROM receipts ORDER BY seq").all(),
    db.query("SELECT * FROM rejected ORDER BY envelope_sha256").all(),
  ]);
}

/** A reply with something of everything: an acknowledgement, a lease, a refusal, a rejection, offers, a license. */
async function eventfulReply(world: World) {
  const { control } = world;
  const done = await world.startJob();
  world.pool.last.report();
  await world.time.until(() => world.hasEnded(done));
  await world.time.settle();
  const leased = await control.offer();
  world.agent.news();
  await world.time.advanceUntil(() => world.row(leased) !== null, 10_000);
  const refused = await control.offer({ kind: "no.such" });
  control.offers.push("rubbish");
  const accepted = await control.offer();
  control.extra = { license: await control.authority.license({ max_concurrent_tasks_per_agent: 5 }) };
  return { leased, refused, accepted };
}

describe("a write that fails in the middle of a reply", () => {
  test("whichever it is, leaves nothing behind, and the same beat heals it", async () => {
    await using world = await World.make({ jitter: 0, license: { max_concurrent_tasks_per_agent: 3 } });
    await world.start();
    const { leased, refused, accepted } = await eventfulReply(world);
    const before = contents(world);
    const { write } = inside(world);
    const beats = world.control.beats.length;
    let failAt = 1;
    let seen = 0;
    const failures: string[] = [];
    inside(world).write = (sql, values) => {
      if (inside(world).db.inTransaction && world.row(accepted) === null) {
        seen += 1;
        if (seen === failAt) {
          failAt += 1;
          seen = 0;
          failures.push(sql.trim().split(/\s+/).slice(0, 3).join(" "));
          throw fault("STATE_DISK_FULL", { path: "journal.db" });
        }
      }
      write.call(world.journal, sql, values);
    };
    const unchanged: boolean[] = [];
    world.control.always("heartbeat", async (honest) => {
      if (failAt > 1 && world.row(accepted) === null) unchanged.push(contents(world) === before);
      return await honest();
    });
    await world.time.advanceUntil(() => world.row(accepted) !== null, 600_000);
    expect(failures.length).toBeGreaterThan(12);
    expect(unchanged).toEqual(failures.map(() => true));
    expect(world.control.beats.length).toBe(beats + 1); // one beat, however often it was sent
    inside(world).write = write;
    await world.time.advance(5_000);
    await world.time.until(() => world.row(accepted)?.state === "running");
    expect(world.row(leased)?.state).toBe("running");
    expect(world.control.receipts.of(refused.jti)?.reason).toBe("JOB_KIND_UNKNOWN");
    expect(world.control.beats.flatMap(({ rejected }) => rejected)).toHaveLength(1);
    expect(world.pool.sizes).toEqual([5]);
    expect(world.control.violations).toEqual([]);
  });

  test("a full file system is one such, and told as what it is", async () => {
    await using world = await World.make({ license: { max_concurrent_tasks_per_agent: 16 } });
    await world.start();
    const { db } = inside(world);
    const read = Array.from({ length: 40 }, (_, index) => `/${index}${"x".repeat(900)}`);
    const scope = { files: { read, write: [] }, commands: [], hosts: [], env: [] };
    const offers = await Promise.all(Array.from({ length: 10 }, () => world.control.offer({ scope })));
    const pages = Number(Object.values(db.query("PRAGMA page_count").get() as object)[0]);
    db.run(`PRAGMA max_page_count = ${pages + 30}`);
    const before = contents(world);
    world.agent.news();
    await world.time.advance(20_000);
    expect(contents(world)).toBe(before);
    expect(world.heard("beat.failed").every(({ code }) => code === "STATE_DISK_FULL")).toBe(true);
    expect(world.heard("beat.failed").length).toBeGreaterThan(2);
    expect(world.pool.tasks).toEqual([]);
    db.run("PRAGMA max_page_count = 1000000");
    await world.time.advance(70_000);
    await world.time.until(() => world.pool.tasks.length === 10);
    expect(offers.map((claims) => world.row(claims)?.state)).toEqual(offers.map(() => "running"));
    expect(world.control.violations).toEqual([]);
  });

  test("while the journal is read-only no request leaves, and no job is lost", async () => {
    await using world = await World.make({ jitter: 255 });
    await world.start();
    const running = await world.startJob();
    await world.time.advance(3_000);
    const sent = world.control.to("heartbeat").length;
    inside(world).db.run("PRAGMA query_only = 1");
    world.pool.last.report();
    world.agent.news();
    await world.time.advance(180_000);
    expect(world.control.to("heartbeat")).toHaveLength(sent);
    expect(world.heard("beat.failed").at(-1)?.["code"]).toBe("JOURNAL_UNUSABLE");
    expect(world.row(running)?.state).toBe("running"); // it waits for its receipt
    inside(world).db.run("PRAGMA query_only = 0");
    await world.time.advance(120_000);
    expect(world.row(running)?.state).toBe("delivered");
    expect(world.control.receipts.claims).toHaveLength(1);
    expect(world.control.violations).toEqual([]);
  });
});

describe("a full disk while a job runs", () => {
  test("does not keep its deadline from stopping it", async () => {
    await using world = await World.make();
    await world.start();
    const claims = await world.startJob({ limits: { ...LIMITS_10_S } });
    await world.time.advance(2_000);
    inside(world).db.run("PRAGMA query_only = 1");
    await world.time.advance(10_000);
    expect(world.pool.last.heard).toEqual([{ type: "stop", cause: "deadline", grace_ms: 5_000 }]);
    await world.time.advance(12_000);
    expect(world.pool.last.aborted).toBe(true);
    inside(world).db.run("PRAGMA query_only = 0");
    await world.time.advance(70_000);
    expect(world.control.receipts.of(claims.jti)).toMatchObject({ outcome: "timed_out", reason: "deadline" });
    expect(world.failure).toBeNull();
  });

  test("does not keep a lost lease from stopping it", async () => {
    await using world = await World.make();
    await world.start();
    await world.startJob({ on_lost: "requeue" });
    inside(world).db.run("PRAGMA query_only = 1");
    await world.time.advance(302_000);
    expect(world.pool.last.heard).toEqual([{ type: "stop", cause: "lease_expired", grace_ms: 0 }]);
    inside(world).db.run("PRAGMA query_only = 0");
    expect(world.failure).toBeNull();
  });

  test("does not keep the agent from ending when it is told so twice", async () => {
    await using world = await World.make();
    await world.start();
    await world.startJob();
    inside(world).db.run("PRAGMA query_only = 1");
    world.agent.drain(120_000);
    world.agent.drain(120_000);
    await world.time.advance(60_000);
    expect(world.exit).toBe(0);
    inside(world).db.run("PRAGMA query_only = 0");
  });

  test("does not keep a job from starting later than its lease came", async () => {
    await using world = await World.make();
    await world.start();
    const claims = await world.control.offer();
    const { write } = inside(world);
    let full = true;
    inside(world).write = (sql, values) => {
      if (full && sql.includes("started_at")) throw fault("STATE_DISK_FULL", { path: "journal.db" });
      write.call(world.journal, sql, values);
    };
    world.agent.news();
    await world.time.advance(70_000);
    expect(world.row(claims)?.state).toBe("leased");
    expect(world.heard("job.unstarted").length).toBeGreaterThan(0);
    full = false;
    await world.time.advance(60_000);
    await world.time.until(() => world.pool.tasks.length === 1);
    expect(world.row(claims)?.state).toBe("running");
  });
});

const LIMITS_10_S = {
  timeout_s: 10,
  memory_bytes: 16_777_216,
  pids: 10,
  output_bytes: 1024,
  workspace_bytes: 1_048_576,
};

describe("files beside the journal", () => {
  test("a license that cannot be written to its file is in force all the same, and in the journal", async () => {
    await using world = await World.make();
    world.persist = () => {
      throw fault("STATE_DISK_FULL", { path: "license.jwt" });
    };
    await world.start();
    const text = await world.control.authority.license({ max_concurrent_tasks_per_agent: 7 });
    world.control.extra = { license: text };
    const claims = await world.control.offer();
    world.agent.news();
    await world.time.advance(5_000);
    await world.time.until(() => world.pool.tasks.length === 1);
    expect(world.row(claims)?.state).toBe("running");
    expect(world.journal.readMeta("license")).toBe(text);
    expect(world.control.beats.at(-1)?.capacity.max).toBe(7);
    expect(world.heard("beat.failed")).toEqual([]);
    expect(world.heard("state.unwritten")).toHaveLength(1);
  });
});
