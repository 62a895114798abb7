// Goal: orders do what they say and nothing else does; what they left outlives every restart and the loss of a file.
// Method: an agent on a real, sealed state directory, killed and started again around each order.

import { describe, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { Journal } from "../../../src/agent/journal.ts";
import { standing } from "../../../src/agent/standing.ts";
import type { Order } from "../../../src/protocol/order.ts";
import { Living } from "./living.ts";

const started = async () => {
  const living = await Living.make();
  await living.start();
  return living;
};
const stateOf = (living: Living) => living.control.heard.at(-1)?.agent.state;

describe("quarantine", () => {
  test("cancels what runs, gives up what waits, starts nothing, and tells its state", async () => {
    await using living = await started();
    const { control, time } = living;
    const running = await living.startJob();
    control.quarantine();
    await living.beat();
    expect(living.now.tasks[0]?.heard).toContainEqual({
      type: "stop",
      cause: "quarantined",
      grace_ms: 5_000,
    });
    living.now.tasks[0]?.report({ end: "stopped", reason: "quarantined", stop_cause: "quarantined" });
    await time.until(() => living.now.journal.job(running.jti, 1)?.state === "finished");
    await control.offer();
    await living.beat();
    expect(stateOf(living)).toBe("quarantined");
    expect(living.now.tasks).toHaveLength(1);
    expect(living.now.journal.job(running.jti, 1)?.reason).toBe("quarantined");
    expect(living.now.journal.openReceipts()).toHaveLength(1);
    expect(control.heard.at(-1)?.orders).toEqual({ epoch: 1, seq: 1 });
    expect(control.violations).toEqual([]);
  });

  test.each([
    ["as it is", () => undefined],
    ["without its journal", (living: Living) => removeJournal(living)],
    ["without quarantine.jws", (living: Living) => rmSync(living.at("quarantine.jws"))],
  ])("outlives a restart %s", async (_, meddle) => {
    await using living = await started();
    living.control.quarantine("seen twice");
    await living.beat();
    expect(living.text("quarantine.jws")).not.toBeNull();
    await living.end();
    meddle(living);
    living.control.desk.given = [];
    await living.start();
    await living.beat();
    expect(["quarantined", "tampered"]).toContain(String(stateOf(living)));
    const status = await living.status();
    expect(status.quarantine).toMatchObject({ code: "STATE_QUARANTINED", reason: "seen twice", epoch: 1 });
    expect(status.findings.map(({ code }) => code)).toContain("STATE_QUARANTINED");
    expect(living.now.failure).toBeNull();
  });

  test("voids the offers of the very answer that brings it, and the leases start nothing", async () => {
    await using living = await started();
    const { control } = living;
    const accepted = await control.offer();
    control.next("heartbeat", async (honest) => await honest());
    const offered = await control.offer();
    control.desk.give({ type: "quarantine", reason: "now" });
    await living.beat();
    expect(living.now.journal.job(accepted.jti, 1)).toBeNull();
    expect(living.now.journal.job(offered.jti, 1)).toBeNull();
    expect(living.now.tasks).toEqual([]);
  });
});

describe("a hold", () => {
  const held: readonly Order[] = [{ type: "drain" }, { type: "stop", grace_s: 60 }];
  test.each(held)(
    "%p lets running jobs end, takes nothing new, beats on, and outlives a restart",
    async (order) => {
      await using living = await started();
      const { control, time } = living;
      const running = await living.startJob();
      control.desk.give(order);
      await living.beat();
      expect(stateOf(living)).toBe("draining");
      const late = await control.offer();
      await living.beat();
      expect(living.now.journal.job(late.jti, 1)).toBeNull();
      living.now.tasks[0]?.report();
      await time.until(() => living.now.journal.job(running.jti, 1)?.outcome === "succeeded");
      await living.beat();
      expect(stateOf(living)).toBe("paused");
      await living.restart();
      await living.beat();
      expect(stateOf(living)).toBe("paused");
      expect((await living.status()).findings.map(({ code }) => code)).toContain("AGENT_HELD");
      control.desk.give({ type: "resume" });
      await living.beat();
      await living.startJob();
      expect(control.violations).toEqual([]);
    },
  );

  test("stop cancels what still runs after its grace, drain never does, resume takes the deadline away", async () => {
    await using living = await started();
    const { control, time } = living;
    await living.startJob();
    control.desk.give({ type: "stop", grace_s: 60 });
    await living.beat();
    control.desk.give({ type: "resume" });
    await living.beat();
    await time.advance(120_000);
    expect(living.now.tasks[0]?.heard).toEqual([]);
    control.desk.give({ type: "drain" });
    await living.beat();
    await time.advance(120_000);
    expect(living.now.tasks[0]?.heard).toEqual([]);
    control.desk.give({ type: "stop", grace_s: 60 });
    await living.beat();
    await time.advance(61_000);
    await time.until(() => living.now.tasks[0]?.heard.length === 1);
    expect(living.now.tasks[0]?.heard).toEqual([{ type: "stop", cause: "order_stop", grace_ms: 5_000 }]);
  });
});

describe("cancel", () => {
  test.each([false, true])(
    "ends a running job with its cause, and one that waits (leased: %p)",
    async (leased) => {
      await using living = await started();
      const { control, time } = living;
      const running = await living.startJob();
      const waiting = await control.offer();
      control.grants = ({ jti, state }) => {
        if (jti !== waiting.jti || state !== "accepted") return true;
        for (const one of [running, waiting]) control.desk.give({ type: "cancel", jti: one.jti });
        return leased;
      };
      await living.beat();
      living.now.tasks[0]?.report({ end: "stopped", reason: "order_cancel", stop_cause: "order_cancel" });
      await time.until(() => living.now.journal.job(running.jti, 1)?.outcome === "cancelled");
      await living.beat();
      expect(living.now.tasks).toHaveLength(1);
      expect(control.receipts.of(running.jti)).toMatchObject({
        outcome: "cancelled",
        reason: "order_cancel",
      });
      expect(control.receipts.of(waiting.jti)).toMatchObject({
        outcome: "cancelled",
        reason: "order_cancel",
      });
      expect(control.violations).toEqual([]);
    },
  );

  test("of a job nobody knows is taken, and there is nothing to do", async () => {
    await using living = await started();
    living.control.desk.give({ type: "cancel", jti: living.control.authority.jobClaims().jti });
    await living.beat();
    expect(living.control.heard.at(-1)?.orders.seq).toBe(1);
    expect(living.now.heard("order.refused")).toEqual([]);
  });
});

describe("terminal", () => {
  const sold: Order = { type: "terminal", reason: "sold", grace_s: 30 };

  test("lets jobs end within its grace, delivers what is owed, says so, exits 10, and stays down", async () => {
    await using living = await started();
    const { control, time } = living;
    const quick = await living.startJob();
    const slow = await living.startJob();
    control.desk.give(sold);
    await living.beat();
    expect(stateOf(living)).toBe("terminal");
    living.now.tasks[0]?.report();
    await time.until(() => living.now.journal.job(quick.jti, 1)?.outcome === "succeeded");
    await time.advance(31_000);
    await time.until(() => living.now.tasks[1]?.heard.length === 1);
    living.now.tasks[1]?.report({ end: "stopped", reason: "order_terminal", stop_cause: "order_terminal" });
    await time.until(() => living.now.journal.job(slow.jti, 1)?.outcome === "cancelled");
    await time.advanceUntil(() => living.now.exit !== null, 60_000);
    expect(living.now.exit).toBe(10);
    expect(control.receipts.of(quick.jti)?.outcome).toBe("succeeded");
    expect(control.receipts.of(slow.jti)).toMatchObject({ outcome: "cancelled", reason: "order_terminal" });
    expect(control.heard.at(-1)).toMatchObject({ agent: { state: "terminal" }, jobs: [], receipts: [] });
    expect(living.text("terminal.jws")).not.toBeNull();
    await expectRefused(living);
    removeJournal(living);
    await expectRefused(living);
    expect(await living.status()).toMatchObject({ state: "terminal", terminal: { reason: "sold" } });
    expect(control.violations).toEqual([]);
  });

  test("is not undone by the loss of its file", async () => {
    await using living = await started();
    living.control.desk.give({ ...sold, grace_s: 0 });
    await living.beat();
    await living.time.advanceUntil(() => living.now.exit !== null, 60_000);
    rmSync(living.at("terminal.jws"));
    await expectRefused(living);
  });

  test.each([
    ["while a job has its grace", 30, "interrupted"],
    ["before anything was delivered", 0, "cancelled"],
  ])(
    "cut off %s: the next start tells what is owed, starts nothing, and ends",
    async (_, grace_s, outcome) => {
      await using living = await started();
      const { control, time } = living;
      const claims = await living.startJob();
      control.desk.give({ ...sold, grace_s });
      await living.beat();
      if (grace_s === 0) {
        control.always("heartbeat", async () => new Response("", { status: 503 }));
        living.now.tasks[0]?.report({
          end: "stopped",
          reason: "order_terminal",
          stop_cause: "order_terminal",
        });
        await time.until(() => living.now.journal.job(claims.jti, 1)?.outcome === "cancelled");
      }
      await living.restart();
      control.always("heartbeat", null);
      const offered = await control.offer();
      await time.advanceUntil(() => living.now.exit !== null, 120_000);
      expect(living.now.exit).toBe(10);
      expect(control.receipts.of(claims.jti)?.outcome).toBe(outcome as never);
      expect(living.now.journal.job(offered.jti, 1)).toBeNull();
      expect(living.now.tasks).toEqual([]);
      const { ctr } = (await living.status()).seal ?? {};
      await expectRefused(living);
      expect((await living.status()).seal?.ctr).toBe(ctr ?? -1);
      expect(control.violations).toEqual([]);
    },
  );

  test("owing what nobody took for a day, or that it cannot tell, it stays down", async () => {
    await using living = await started();
    const { control, time } = living;
    const claims = await living.startJob();
    control.always("heartbeat", async () => new Response("", { status: 503 }));
    living.now.tasks[0]?.report();
    await time.until(() => living.now.journal.job(claims.jti, 1)?.outcome === "succeeded");
    await living.end();
    const jws = await control.authority.order(sold, { seq: 1 });
    const journal = Journal.open(living.at("journal.db"));
    standing.setEnd(journal, { reason: "sold", grace_s: 0, since: time.wallMs() - 86_400_000, jws });
    journal.close();
    await living.start();
    expect(living.now.code).toBe("STATE_TERMINAL");
    const later = Journal.open(living.at("journal.db"));
    standing.setEnd(later, { reason: "sold", grace_s: 0, since: time.wallMs(), jws });
    later.close();
    rmSync(living.at("keypair/identity.pem"));
    await living.restart();
    expect(living.now.code).toBe("STATE_TERMINAL");
  });

  test("given to a key that was replaced ends nobody who has another", async () => {
    await using living = await Living.make();
    const { control } = living;
    const jws = await control.authority.order(sold, { seq: 1, jkt: "A".repeat(43) });
    writeFileSync(living.at("terminal.jws"), jws, { mode: 0o600 });
    await living.start();
    await living.beat();
    expect(living.now.failure).toBeNull();
    const integrity = [{ code: "SEAL_UNEXPECTED", name: "terminal.jws" }];
    expect(control.heard.at(-1)).toMatchObject({ agent: { state: "tampered" }, integrity });
  });

  test("ends with 10 as well when nobody answers any more, in bounded time", async () => {
    await using living = await started();
    const claims = await living.startJob();
    living.control.desk.give({ ...sold, grace_s: 0 });
    await living.beat();
    living.control.always("heartbeat", async () => new Response("", { status: 503 }));
    living.now.tasks[0]?.report({ end: "stopped", reason: "order_terminal", stop_cause: "order_terminal" });
    await living.time.until(() => living.now.journal.job(claims.jti, 1)?.outcome === "cancelled");
    await living.time.advanceUntil(() => living.now.exit !== null, 620_000);
    expect(living.now.exit).toBe(10);
  });
});

/** Starts it again, which ends at once, before anything is asked of anybody. */
async function expectRefused(living: Living): Promise<void> {
  const requests = living.control.requests.length;
  await living.restart();
  expect(living.now.code).toBe("STATE_TERMINAL");
  expect(living.control.requests.length).toBe(requests);
}

function removeJournal(living: Living): void {
  living.now.kill();
  for (const suffix of ["", "-wal", "-shm"]) rmSync(living.at(`journal.db${suffix}`), { force: true });
}
