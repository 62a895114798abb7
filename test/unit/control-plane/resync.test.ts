// Goal: a server that was brought back from a backup takes its fleet back; a server that has lost beats otherwise says so;
// an old copy of an agent is never taken for either.
// Method: the decision as a pure function; a lost answer and a quarantined agent over a real restore.

import { afterEach, describe, expect, test } from "bun:test";
import { judgeMisfit } from "../../../src/control-plane/beat/resync.ts";
import { type AnomalySummary, API } from "../../../src/protocol/api.ts";
import type { HeldReply } from "../../../src/protocol/wire.ts";
import { bringBack, Places } from "./support/backups.ts";
import { mint, submit, type TestControlPlane } from "./support/control-plane.ts";
import { claimsOf, ScriptedAgent } from "./support/scripted-agent.ts";

const places = new Places();
afterEach(() => places.clean());

const open = async (control: TestControlPlane): Promise<AnomalySummary[]> =>
  ((await (await control.api("GET", API.anomalies)).json()) as { anomalies: AnomalySummary[] }).anomalies;

describe("a beat that does not fit is", () => {
  const restored = { era: 2, agentEra: 1 };
  const same = { era: 2, agentEra: 2 };
  const misfit = (kind: "beat_ahead" | "stale_nonce" | "revoked_nonce" | "superseded_instance") => ({
    verdict: "anomaly" as const,
    kind,
    why: "",
  });

  test.each([
    ["resync", "ahead of a restored server", "beat_ahead", { ...restored, expected: 5, shown: 9 }],
    ["resync", "its equal, under another nonce", "stale_nonce", { ...restored, expected: 5, shown: 5 }],
    ["anomaly", "behind what even the backup knows", "stale_nonce", { ...restored, expected: 5, shown: 3 }],
    ["ahead", "ahead of one that was not restored", "beat_ahead", { ...same, expected: 5, shown: 9 }],
    ["anomaly", "stale where all is known", "stale_nonce", { ...same, expected: 5, shown: 5 }],
    ["anomaly", "of a copy, where all is known", "superseded_instance", { ...same, expected: 5, shown: 5 }],
  ] as const)("%s: %s", (expected, _, kind, facts) => {
    expect(judgeMisfit(misfit(kind), facts)).toBe(expected);
  });
});

describe("after a restore", () => {
  test("an agent is taken back once: its lost answer is repeated, a copy of it is an anomaly", async () => {
    const control = await places.start();
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    await agent.beat();
    const made = await places.backup(control);
    const copy = agent.clone();
    for (let turn = 0; turn < 3; turn++) await agent.beat();
    await bringBack(control, made);
    const request = agent.beatRequest();
    const lost = await agent.sendBeat(request);
    const again = await agent.sendBeat(request);
    expect(again.text).toBe(lost.text);
    await agent.take(again);
    expect(agent.epoch).toBe(2);
    const id = await submit(control);
    expect((await agent.beat()).jobs.map((text) => claimsOf(text))).toMatchObject([
      { jti: id, epoch: 2, seq: 1 },
    ]);
    expect(await open(control)).toEqual([]);
    copy.aheadS = 5;
    expect(await copy.held()).toMatchObject([{ order: { type: "quarantine" } }]);
    expect((await open(control)).map(({ kind }) => kind)).toEqual(["stale_nonce"]);
  });

  test("orders that were not taken are given again, numbered from one", async () => {
    const control = await places.start();
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    await agent.beat();
    await control.api("POST", API.agentOrders(agent.agentId), { order: "drain", reason: "x" });
    const made = await places.backup(control);
    agent.takeOrders((await agent.beat()).orders);
    await agent.beat();
    await bringBack(control, made);
    expect((await agent.beat()).orders).toEqual([]);
    agent.orderSeq = 0; // its epoch is another
    expect(agent.takeOrders((await agent.beat()).orders)).toMatchObject([
      { epoch: 2, seq: 1, order: { type: "drain" } },
    ]);
  });

  test("a quarantined agent that has taken more orders than the backup knows can be recovered", async () => {
    const control = await places.start();
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    await control.api("POST", API.agentOrders(agent.agentId), { order: "quarantine", reason: "x" });
    await agent.held();
    const made = await places.backup(control);
    agent.orderSeq = 7;
    await bringBack(control, made);
    expect(await agent.held()).toMatchObject([{ seq: 8, order: { type: "quarantine" } }]);
    const [anomaly] = await open(control);
    const path = API.anomalyAct(anomaly?.id ?? "", "recover");
    expect((await control.api("POST", path, { reason: "x" })).status).toBe(200);
    const held = (await agent.sendBeat(agent.beatRequest())).json as unknown as HeldReply;
    expect((await agent.rekey(held.orders[0] ?? "")).status).toBe(200);
    await agent.beat();
  });
});
