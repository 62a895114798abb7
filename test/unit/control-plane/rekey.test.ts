// Goal: out of a quarantine leads one way: the process an admin picked, and no other, gets new keys, once; from then on
// the old key is told that it is over, whoever holds it.
// Method: a real server; an original and its copy, requests that are each wrong in one thing.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type AgentDetail, type AnomalySummary, type AnomalyView, API } from "../../../src/protocol/api.ts";
import { FIRST_PREV_SHA256 } from "../../../src/protocol/receipt.ts";
import type { Fingerprint, LicenseClaims } from "../../../src/protocol/trust.ts";
import type { HeldReply } from "../../../src/protocol/wire.ts";
import { ROUTES } from "../../../src/protocol/wire.ts";
import { makeSealingKey, makeSigningKey } from "../../../src/trust/keys.ts";
import { newNonce } from "../../../src/trust/proof.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import {
  mint,
  random,
  startTestControlPlane,
  submit,
  type TestControlPlane,
} from "./support/control-plane.ts";
import { claimsOf, FINGERPRINT, ScriptedAgent } from "./support/scripted-agent.ts";

let control: TestControlPlane;
beforeAll(async () => {
  control = await startTestControlPlane();
  await control.api("PUT", API.accountPlan, { max_agents: 100 });
});
afterAll(async () => {
  await control.close();
});

const enrol = async () => {
  const agent = await ScriptedAgent.enrol(control.url, await mint(control));
  await agent.beat();
  return agent;
};
const get = async <T>(path: string): Promise<T> => (await (await control.api("GET", path)).json()) as T;
const detail = (agent: ScriptedAgent) => get<AgentDetail>(API.agent(agent.agentId));

async function quarantined(): Promise<{ agent: ScriptedAgent; anomaly: string }> {
  const agent = await enrol();
  await control.api("POST", API.agentOrders(agent.agentId), { order: "quarantine", reason: "x" });
  await agent.held();
  return { agent, anomaly: await caseOf(agent) };
}

async function caseOf(agent: ScriptedAgent): Promise<string> {
  const { anomalies } = await get<{ anomalies: AnomalySummary[] }>(`${API.anomalies}?limit=200`);
  const found = anomalies.find(({ agent_id }) => agent_id === (agent.agentId as never));
  if (found === undefined) throw new Error("there is a case");
  return found.id;
}

const recover = async (anomaly: string, body: object = {}) => {
  const reply = await control.api("POST", API.anomalyAct(anomaly, "recover"), {
    reason: "it is ours",
    ...body,
  });
  return { status: reply.status, json: (await reply.json()) as AnomalyView & { code?: string } };
};

/** The recover order as this process is told it; it is not taken, so that it is told again. */
async function orderFor(agent: ScriptedAgent): Promise<string> {
  const reply = (await agent.sendBeat(agent.beatRequest())).json as unknown as HeldReply;
  const text = reply.orders.find(
    (one) => claimsOf<{ order: { type: string } }>(one).order.type === "recover",
  );
  if (text === undefined) throw new Error("there is no recover order");
  return text;
}
const codeOf = (reply: { text: string }) => (JSON.parse(reply.text) as { code?: string }).code;

describe("a recovery", () => {
  test("gives the picked process a new key, epoch and chain, and it works again", async () => {
    const { agent, anomaly } = await quarantined();
    const before = claimsOf<LicenseClaims>(agent.license);
    const old = agent.clone();
    expect((await recover(anomaly)).json.instances).toMatchObject([{ inst: agent.inst, picked: true }]);
    const reply = await agent.rekey(await orderFor(agent));
    expect(reply.json.receipts).toEqual({ seq: 0, sha256: FIRST_PREV_SHA256 });
    const license = claimsOf<LicenseClaims>(reply.json.license);
    expect([license.epoch, license.lic, license.cnf.jkt]).toEqual([2, before.lic, agent.identity.kid]);
    const id = await submit(control);
    const first = await agent.beat();
    expect(first.slot.held).toBeTrue();
    expect(first.jobs.map((text) => claimsOf(text))).toMatchObject([{ jti: id, epoch: 2, seq: 1 }]);
    await agent.beat({ receipts: [await agent.receipt(claimsOf(first.jobs[0] ?? ""), first.jobs[0] ?? "")] });
    const { agent: shown, orders } = await detail(agent);
    expect(shown).toMatchObject({ standing: "live", epoch: 2, open_anomalies: 0, open_orders: [] });
    expect(orders.map(({ type, state }) => [type, state])).toEqual([
      ["recover", "taken"],
      ["quarantine", "taken"],
    ]);
    const { state, resolution } = await get<AnomalyView>(API.anomaly(anomaly));
    expect([state, resolution?.includes("it is ours")]).toEqual(["resolved", true]);
    expect((await old.held()).map(({ order, epoch }) => [order, epoch])).toEqual([
      [{ type: "terminal", reason: "superseded", grace_s: 0 }, 1],
    ]);
  });

  test("leaves the old key a bearer, the heartbeat that says it is over, and nothing else", async () => {
    const { agent, anomaly } = await quarantined();
    const old = agent.clone();
    await recover(anomaly);
    await agent.rekey(await orderFor(agent));
    expect((await old.signIn()).status).toBe(200);
    expect(await old.held()).toMatchObject([{ jkt: old.identity.kid, order: { type: "terminal" } }]);
    expect(await old.held()).toHaveLength(1); // as often as it asks
    const routes = [
      ["GET", ROUTES.wake],
      ["GET", `/v1/blobs/${"0".repeat(64)}`],
    ] as const;
    for (const [method, path] of routes) {
      const refused = await old.send(method, path);
      expect([refused.status, refused.json.code]).toEqual([403, "AGENT_SUPERSEDED"]);
    }
    expect(codeOf(await old.putLog("job_00000000000000000000", 1, 0, "x"))).toBe("AGENT_SUPERSEDED");
    await agent.beat();
  });

  test("takes what the old key signed", async () => {
    const agent = await enrol();
    const id = await submit(control);
    const [envelope = ""] = (await agent.beat()).jobs;
    const job = claimsOf(envelope);
    await agent.beat({ jobs: [{ jti: job.jti, attempt: 1, state: "running" }] });
    await control.api("POST", API.agentOrders(agent.agentId), { order: "quarantine", reason: "x" });
    await agent.held();
    const receipt = await agent.receipt(job, envelope, { outcome: "cancelled", reason: "quarantined" });
    await recover(await caseOf(agent));
    await agent.rekey(await orderFor(agent));
    expect((await agent.beat({ receipts: [receipt] })).acks as string[]).toEqual([sha256Of(receipt)]);
    const shown = await get<{ outcome: string; receipt: { verified: boolean } }>(API.job(id));
    expect([shown.outcome, shown.receipt.verified]).toEqual(["cancelled", true]);
  });

  test("gives the same new key the same answer until it has beaten, across a restart", async () => {
    const { agent, anomaly } = await quarantined();
    await recover(anomaly);
    const order = await orderFor(agent);
    const identity = (await makeSigningKey()).key;
    const sealing = (await makeSealingKey()).key.jwk;
    const lost = await agent.rekey(order, { identity, sealing, lost: true });
    await control.restart();
    const other = await agent.rekey(order, { lost: true });
    expect([other.status, codeOf(other)]).toEqual([403, "AGENT_SUPERSEDED"]);
    expect(codeOf(await agent.rekey(order, { identity, lost: true }))).toBe("AGENT_SUPERSEDED");
    const again = await agent.rekey(order, { identity, sealing, lost: true });
    expect(again.json).toEqual(lost.json);
    const old = agent.clone();
    await agent.rekey(order, { identity, sealing });
    await agent.beat();
    expect(codeOf(await old.rekey(order, { identity, sealing, lost: true }))).toBe("AGENT_SUPERSEDED");
  });

  test("carries over what an operator said meanwhile", async () => {
    const { agent, anomaly } = await quarantined();
    await control.api("POST", API.agentOrders(agent.agentId), { order: "drain", reason: "later" });
    expect(await agent.held()).toEqual([]);
    await recover(anomaly);
    await agent.rekey(await orderFor(agent));
    const orders = agent.takeOrders((await agent.beat()).orders);
    expect(orders).toMatchObject([{ epoch: 2, seq: 1, order: { type: "drain" } }]);
    expect((await agent.beat()).orders).toEqual([]);
  });
});

describe("a wrong request for a new key changes nothing:", () => {
  test.each([
    ["the proof is by the old key", (agent: ScriptedAgent) => ({ signer: agent.identity })],
    ["the new key is the old one", (agent: ScriptedAgent) => ({ identity: agent.identity })],
    ["the proof speaks of another agent", () => ({ claims: { agent: "agt_00000000000000000000" } })],
    ["the proof speaks of another old key", () => ({ claims: { old_jkt: "x".repeat(43) } })],
    ["the proof speaks of another order", () => ({ claims: { order_sha256: "0".repeat(64) } })],
    ["the proof speaks of another sealing key", () => ({ claims: { sealing_x: "x".repeat(43) } })],
  ])("%s", async (_, changes) => {
    const { agent, anomaly } = await quarantined();
    await recover(anomaly);
    const order = await orderFor(agent);
    const refused = await agent.rekey(order, { ...changes(agent), lost: true });
    expect([refused.status, codeOf(refused)]).toEqual([403, "REKEY_PROOF_INVALID"]);
    expect((await agent.rekey(order)).status).toBe(200);
  });

  test("the order is another agent's, another kind's, not ours, or over", async () => {
    const { agent, anomaly } = await quarantined();
    const other = await quarantined();
    await recover(anomaly);
    await recover(other.anomaly);
    const order = await orderFor(agent);
    const foreign = await orderFor(other.agent);
    expect(codeOf(await agent.rekey(foreign, { lost: true }))).toBe("REKEY_ORDER_INVALID");
    expect(codeOf(await agent.rekey(`${order.slice(0, -4)}AAAA`, { lost: true }))).toBe(
      "REKEY_ORDER_INVALID",
    );
    const fresh = await enrol();
    await control.api("POST", API.agentOrders(fresh.agentId), { order: "quarantine", reason: "x" });
    const held = (await fresh.sendBeat(fresh.beatRequest())).json as unknown as HeldReply;
    const quarantine = held.orders[0] ?? "";
    expect(codeOf(await fresh.rekey(quarantine, { lost: true }))).toBe("REKEY_ORDER_INVALID");
    agent.aheadS = 1_000;
    control.shift(1_000_000);
    await agent.signIn();
    expect(codeOf(await agent.rekey(order, { lost: true }))).toBe("REKEY_ORDER_EXPIRED");
    expect((await agent.rekey(await orderFor(agent))).status).toBe(200); // told again, signed anew
    control.shift(-1_000_000);
  });

  test("an admin has picked another process since", async () => {
    const { agent, anomaly } = await quarantined();
    await recover(anomaly, { inst: agent.inst });
    const order = await orderFor(agent);
    const restarted = agent.clone();
    await restarted.held();
    expect((await recover(anomaly, { inst: restarted.inst })).status).toBe(200);
    expect(codeOf(await agent.rekey(order, { lost: true }))).toBe("REKEY_ORDER_REPLACED");
    expect((await restarted.rekey(await orderFor(restarted))).status).toBe(200);
  });

  test("the agent is not quarantined, or the key was somebody's", async () => {
    const { agent, anomaly } = await quarantined();
    await recover(anomaly);
    const order = await orderFor(agent);
    const other = await enrol();
    const taken = await agent.rekey(order, { identity: other.identity, lost: true });
    expect(codeOf(taken)).toBe("REKEY_PROOF_INVALID");
    await agent.rekey(order);
    expect(codeOf(await agent.rekey(order, { lost: true }))).toBe("REKEY_ORDER_INVALID");
  });
});

describe("a copy", () => {
  test("that polls ten times faster gets neither the order nor the key", async () => {
    const agent = await enrol();
    const copy = agent.clone();
    copy.aheadS = 1;
    await copy.beat();
    agent.aheadS = 2;
    await agent.held();
    copy.aheadS = 2;
    const anomaly = await caseOf(agent);
    expect((await recover(anomaly)).json.code).toBeUndefined(); // only the original was heard since
    await copy.held();
    const told: string[] = [];
    for (let turn = 0; turn < 10; turn++) {
      for (const { order } of await copy.held()) told.push(order.type);
    }
    const order = await orderFor(agent);
    expect(told).toEqual([]); // the quarantine was told before; nothing else ever was
    // Even with the order in hand, stolen on its way, it is its key against the original's: one of them wins, once.
    expect((await agent.rekey(order)).status).toBe(200);
    expect(codeOf(await copy.rekey(order, { lost: true }))).toBe("AGENT_SUPERSEDED");
    expect((await copy.held()).map(({ order: { type } }) => type)).toEqual(["terminal"]);
    await agent.beat();
  });

  test("makes the admin say which one is meant", async () => {
    const agent = await enrol();
    const copy = agent.clone();
    copy.aheadS = 1;
    await copy.beat();
    agent.aheadS = 2;
    copy.aheadS = 2;
    await agent.held();
    await copy.held();
    const anomaly = await caseOf(agent);
    expect(await recover(anomaly)).toMatchObject({ status: 409, json: { code: "ANOMALY_INSTANCE_UNCLEAR" } });
    expect((await recover(anomaly, { inst: newNonce(random) })).status).toBe(404);
    expect((await recover(anomaly, { inst: agent.inst })).status).toBe(200);
  });
});

describe("another machine", () => {
  const ELSEWHERE: Fingerprint = { ...FINGERPRINT, components: { product_uuid: "x".repeat(22) } };

  test("is recovered only when the admin accepts it as the agent's", async () => {
    const agent = await enrol();
    agent.fingerprint = ELSEWHERE;
    await agent.held();
    const anomaly = await caseOf(agent);
    expect((await recover(anomaly)).json.code).toBe("ANOMALY_MACHINE_DIFFERS");
    expect((await recover(anomaly, { rebind: true })).json.instances).toMatchObject([
      { picked: true, fingerprint: { verdict: "match", score: 1 } },
    ]);
    const reply = await agent.rekey(await orderFor(agent));
    expect(claimsOf<LicenseClaims>(reply.json.license).fp).toEqual(ELSEWHERE);
    await agent.beat();
  });

  test("rebound on an alarm needs no recovery; its license follows", async () => {
    const agent = await enrol();
    const drifted = { product_uuid: "u".repeat(22), device_tree_serial: "t".repeat(22) };
    agent.fingerprint = { ...FINGERPRINT, components: drifted };
    await agent.beat();
    const anomaly = await caseOf(agent);
    const body = { reason: "new disk" };
    const rebound = await control.api("POST", API.anomalyAct(anomaly, "rebind"), body);
    expect(await rebound.json()).toMatchObject({ state: "resolved" });
    const { license } = await agent.beat();
    expect(claimsOf<LicenseClaims>(license ?? "").fp.components).toEqual(drifted);
  });

  test("a sealed state that is accepted gets a number above every one shown", async () => {
    const agent = await enrol();
    const digest = "d".repeat(64);
    const seal = { ctr: 7, root: digest, head_seq: 0, head: digest } as never;
    await agent.beat({ seal, integrity: [{ code: "SEAL_MODIFIED", name: "license.jwt" }] });
    const anomaly = await caseOf(agent);
    await control.api("POST", API.anomalyAct(anomaly, "reseal"), { reason: "it was me" });
    const [order] = agent.takeOrders((await agent.beat({ seal })).orders);
    if (order?.order.type !== "reseal") throw new Error("it is told to reseal");
    expect(order.order.ctr).toBeGreaterThan(7);
    await agent.beat({ seal: { ctr: order.order.ctr, root: digest, head_seq: 0, head: digest } as never });
    const { state, resolution } = await get<AnomalyView>(API.anomaly(anomaly));
    expect([state, resolution]).toEqual(["resolved", "resealed: it was me"]);
  });
});
