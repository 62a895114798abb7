// Goal: an epoch begins anew where it must (offers, orders, quarantine) and nowhere else; receipts that the Control Plane
// lost are told again; older licenses are refused.
// Method: answers that bring a license of another epoch, or ask for receipts again, to an agent at work.

import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { Living } from "./living.ts";

const started = async () => {
  const living = await Living.make();
  await living.start();
  return living;
};

test("a license of the next epoch empties the window of offers and the number of orders", async () => {
  await using living = await started();
  const { control, time } = living;
  const first = await living.startJob({ seq: 700 });
  living.now.tasks[0]?.report();
  await time.until(() => living.now.journal.job(first.jti, 1)?.outcome === "succeeded");
  control.desk.give({ type: "drain" });
  control.desk.give({ type: "resume" });
  await living.beat();
  expect(control.heard.at(-1)?.orders).toEqual({ epoch: 1, seq: 2 });
  expect(living.now.journal.window(1).highest).toBe(700);
  control.extra = { license: await control.authority.license({ epoch: 2, ...control.nextLicense }) };
  control.desk.begin(2);
  await living.beat();
  await living.beat();
  expect(control.heard.at(-1)?.orders).toEqual({ epoch: 2, seq: 0 });
  await living.startJob({ seq: 1, epoch: 2 });
  expect(living.now.journal.window(2).highest).toBe(1);
  control.desk.give({ type: "drain" });
  await living.beat();
  expect(control.heard.at(-1)).toMatchObject({ orders: { epoch: 2, seq: 1 }, agent: { state: "draining" } });
  expect(control.violations).toEqual([]);
});

test("a quarantine that the Control Plane has forgotten is carried over: only a recovery ends it", async () => {
  await using living = await started();
  const { control } = living;
  control.quarantine();
  await living.beat();
  expect(control.heard.at(-1)?.agent.state).toBe("quarantined");
  // It was brought back from a backup that is older than the quarantine, and takes the agent in anew.
  control.quarantined = false;
  control.extra = { license: await control.authority.license({ epoch: 2, ...control.nextLicense }) };
  control.desk.begin(2);
  await living.beat();
  const offered = await control.offer({ epoch: 2 });
  for (const restart of [false, true]) {
    if (restart) await living.restart();
    await living.beat();
    expect(control.heard.at(-1)).toMatchObject({ agent: { state: "quarantined" }, orders: { epoch: 2 } });
  }
  expect(living.now.journal.job(offered.jti, 1)).toBeNull();
  control.quarantined = true;
  control.recover(living.now.inst);
  await living.time.advanceUntil(() => control.beats.at(-1)?.orders.epoch === 3, 200_000);
  await living.beat();
  expect(control.heard.at(-1)).toMatchObject({ agent: { state: "idle" }, orders: { epoch: 3 } });
});

test("the orders and offers of one answer are held against the license it brings", async () => {
  await using living = await started();
  const { control } = living;
  control.extra = {
    license: await control.authority.license({ epoch: 2, ...control.nextLicense }),
    orders: [await control.authority.order({ type: "drain" }, { epoch: 2, seq: 1 })],
    jobs: [await control.authority.job(control.authority.jobClaims({ epoch: 1 }))],
  };
  await living.beat();
  expect(control.heard.at(-1)).toMatchObject({ agent: { state: "paused" }, orders: { epoch: 2, seq: 1 } });
});

test("a license of an older epoch is refused", async () => {
  await using living = await started();
  const { control } = living;
  control.extra = { license: await control.authority.license({ epoch: 2, ...control.nextLicense }) };
  await living.beat();
  control.extra = { license: await control.authority.license({ epoch: 1, ...control.nextLicense }) };
  await living.beat();
  expect(living.now.heard("license.refused")).toMatchObject([{ code: "LICENSE_INVALID" }]);
  expect(control.heard.at(-1)?.orders.epoch).toBe(2);
});

test("receipts above the number the Control Plane still has are told again, the others are not", async () => {
  await using living = await started();
  const { control, time } = living;
  for (let done = 1; done <= 3; done++) {
    await living.startJob();
    living.now.tasks.at(-1)?.report();
    await time.until(() => living.now.journal.receiptHead().seq === done);
    await living.beat();
  }
  const sent = () => control.heard.at(-1)?.receipts.length;
  await living.beat();
  expect(sent()).toBe(0);
  control.extra = { retell_after: 1 };
  await living.beat();
  expect(control.heard.some(({ receipts }) => receipts.length === 2)).toBe(true);
  await living.beat();
  expect(sent()).toBe(0);
  expect(control.receipts.claims).toHaveLength(3);
  expect(control.violations).toEqual([]);
});

test("the logs of receipts that are told again are sent again, as far as they are not there", async () => {
  await using living = await started();
  const { control, time, now } = living;
  for (let done = 1; done <= 2; done++) {
    const { jti } = await living.startJob();
    const text = `log ${done}`;
    writeFileSync(now.tasks.at(-1)?.task.logPath ?? "", text);
    now.tasks.at(-1)?.report({ log: { sha256: sha256Of(text), size: text.length } });
    await time.until(() => now.journal.receiptHead().seq === done);
    await time.advanceUntil(() => control.logs.text(jti) === text, 20_000);
    control.logs.cut(jti, 2);
  }
  control.extra = { retell_after: 1 };
  await living.beat();
  await time.advance(20_000);
  const texts = [1, 2].map((seq) => {
    const { jti } = control.receipts.claims.find((claims) => claims.seq === seq) ?? { jti: "" };
    return control.logs.text(jti);
  });
  expect(texts).toEqual(["lo", "log 2"]);
  expect(now.journal.unsentLogs()).toEqual([]);
});

test("each beat anchors the seal and the head of the receipts", async () => {
  await using living = await started();
  const { control, time } = living;
  const { sha256 } = living.now.journal.receiptHead();
  expect(control.heard.at(-1)?.seal).toMatchObject({ head_seq: 0, head: sha256 });
  await living.startJob();
  living.now.tasks.at(-1)?.report();
  await time.until(() => living.now.journal.receiptHead().seq === 1);
  await living.beat();
  const told = control.heard.at(-1)?.seal;
  expect(told).toMatchObject({ head_seq: 1, head: living.now.journal.receiptHead().sha256 });
  expect(told?.ctr).toBe((await living.status()).seal?.ctr ?? -1);
});
