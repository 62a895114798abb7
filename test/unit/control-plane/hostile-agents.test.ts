// Goal: what one agent says, however large or untrue, costs nobody else anything: not the admin's lists, not another agent's
// slot, log or job, not the evidence against itself.
// Method: a real server over HTTP; agents that lie with good signatures.

import { afterEach, describe, expect, test } from "bun:test";
import * as v from "valibot";
import {
  AgentListSchema,
  AnomalyListSchema,
  type AnomalySummary,
  type AnomalyView,
  AnomalyViewSchema,
  API,
} from "../../../src/protocol/api.ts";
import type { JobClaims } from "../../../src/protocol/job.ts";
import { parseDocument } from "../../../src/protocol/json.ts";
import type { LicenseClaims } from "../../../src/protocol/trust.ts";
import { ROUTES } from "../../../src/protocol/wire.ts";
import { makeSealingKey } from "../../../src/trust/keys.ts";
import { newNonce } from "../../../src/trust/proof.ts";
import { bringBack, Places } from "./support/backups.ts";
import { mint, random, submit, type TestControlPlane } from "./support/control-plane.ts";
import { giveNewKey } from "./support/recover.ts";
import { claimsOf, ScriptedAgent } from "./support/scripted-agent.ts";

const places = new Places();
afterEach(() => places.clean());

const enrol = async (control: TestControlPlane): Promise<ScriptedAgent> => {
  const agent = await ScriptedAgent.enrol(control.url, await mint(control));
  await agent.beat();
  return agent;
};
const get = async (control: TestControlPlane, path: string): Promise<unknown> =>
  await (await control.api("GET", path)).json();
const anomalies = async (control: TestControlPlane) =>
  v.parse(AnomalyListSchema, await get(control, API.anomalies)).anomalies;
const order = (control: TestControlPlane, agent: ScriptedAgent, request: object) =>
  control.api("POST", API.agentOrders(agent.agentId), { reason: "a test", ...request });
const AGENT_FACTS = { version: "0.1.0", bundle: "development", policy: null, started_at: 1 } as const;

async function wordIn(response: Response, word: string): Promise<boolean> {
  const reader = response.body?.pipeThrough(new TextDecoderStream() as never).getReader();
  for (let text = ""; reader !== undefined; ) {
    const { done, value } = await reader.read();
    if (done) return false;
    text += String(value);
    if (text.includes(word)) return true;
  }
  return false;
}
const leased = (jti: string, attempt = 1) => ({ jti: jti as never, attempt, state: "leased" as const });
const readmit = async (agent: ScriptedAgent) =>
  await agent.send("POST", ROUTES.readmit, {
    json: {
      v: 1,
      license: agent.license,
      identity_jwk: agent.identity.jwk,
      sealing_jwk: (await makeSealingKey()).key.jwk,
    },
    anonymous: true,
  });

describe("what an agent says", () => {
  test("in a receipt with a member too many neither fills the list of anomalies nor makes it unreadable", async () => {
    const control = await places.start();
    const agent = await enrol(control);
    const job = { jti: `job_${"0".repeat(20)}`, attempt: 1 } as JobClaims;
    for (let before = 0; before < 2; before++) {
      const surplus = { [`${"x".repeat(before)}${"💩".repeat(100_000)}`]: 1 };
      await agent.beat({ receipts: [await agent.receipt(job, "", surplus)] });
    }
    const list = await (await control.api("GET", API.anomalies)).text();
    expect(list.length).toBeLessThan(2_000);
    const { value } = parseDocument(list, AnomalyListSchema) as { value?: { anomalies: AnomalySummary[] } };
    expect(value?.anomalies).toMatchObject([{ kind: "receipt_unusable", count: 2 }]);
    const shown = await (await control.api("GET", API.anomaly(value?.anomalies[0]?.id ?? ""))).text();
    expect(parseDocument(shown, AnomalyViewSchema)).toMatchObject({ ok: true });
    expect(control.log.every((line) => line.length < 5_000)).toBeTrue();
  });

  test("of its epoch after a restore is believed within reason only: the fleet can still be listed", async () => {
    const control = await places.start();
    const agent = await enrol(control);
    const made = await places.backup(control);
    await agent.beat();
    await bringBack(control, made);
    await agent.beat({ orders: { epoch: Number.MAX_SAFE_INTEGER, seq: 0 } });
    expect(claimsOf<LicenseClaims>(agent.license).epoch).toBe(2);
    expect(v.safeParse(AgentListSchema, await get(control, API.agents)).success).toBeTrue();
  });
});

describe("another agent", () => {
  test("gets the slot that a quarantined one cannot use, although an admin has confirmed that one", async () => {
    const control = await places.start();
    await control.api("PUT", API.accountPlan, { max_agents: 1 });
    const made = await places.backup(control);
    const out = await enrol(control);
    await bringBack(control, made);
    await readmit(out);
    await out.signIn();
    await out.beat();
    await order(control, out, { order: "quarantine" });
    await control.api("POST", API.agentConfirm(out.agentId), { reason: "it is ours" });
    await out.held();
    expect((await enrol(control)).agentId).toBeTruthy();
    const other = await enrol(control);
    const first = v.parse(AgentListSchema, await get(control, API.agents)).agents;
    expect(first.filter(({ slot_held }) => slot_held)).toHaveLength(1);
    expect((await other.beat()).slot).toMatchObject({ held: false, position: 1 });
  });

  test("gets the slot although one that nobody has confirmed was recovered meanwhile", async () => {
    const control = await places.start();
    await control.api("PUT", API.accountPlan, { max_agents: 1 });
    const made = await places.backup(control);
    const unknown = await enrol(control);
    await bringBack(control, made);
    await readmit(unknown);
    await unknown.signIn();
    await unknown.beat();
    await giveNewKey(control, unknown);
    expect((await unknown.beat()).slot.held).toBeFalse();
    expect((await (await enrol(control)).beat()).slot.held).toBeTrue();
  });

  test("writes the log of a job that was handed back by the one before, from its beginning", async () => {
    const control = await places.start();
    const [one, other] = [await enrol(control), await enrol(control)];
    const id = await submit(control);
    await one.beat();
    await one.beat({ jobs: [leased(id)], capacity: { max: 2, in_flight: 1 } });
    await one.beat({ jobs: [{ jti: id as never, attempt: 1, state: "returned" }] });
    expect((await one.putLog(id, 1, 0, "garbage")).status).toBe(200);
    expect((await other.beat()).jobs).toHaveLength(1);
    await other.beat({ jobs: [leased(id)], capacity: { max: 2, in_flight: 1 } });
    expect((await other.putLog(id, 1, 0, "ours")).json).toMatchObject({ stored: 4 });
    expect((await one.putLog(id, 1, 4, "more")).status).toBe(403);
    expect(await (await control.api("GET", API.jobLog(id))).text()).toBe("ours");
  });
});

describe("after a restore", () => {
  test("the log of a job that was leased after the backup is taken", async () => {
    const control = await places.start();
    const agent = await enrol(control);
    const id = await submit(control);
    const made = await places.backup(control);
    await agent.beat();
    const running = { jobs: [leased(id)], capacity: { max: 2, in_flight: 1 } };
    await agent.beat(running);
    await agent.putLog(id, 1, 0, "before ");
    await bringBack(control, made);
    await agent.beat(running);
    expect((await agent.putLog(id, 1, 0, "before and after")).json).toMatchObject({ stored: 16 });
    expect(await (await control.api("GET", API.jobLog(id))).text()).toBe("before and after");
  });

  test("receipts signed by the key an agent had in the backup count, and that key is told that it is over", async () => {
    const control = await places.start();
    const agent = await enrol(control);
    const id = await submit(control);
    const made = await places.backup(control);
    const [envelope = ""] = (await agent.beat()).jobs;
    await agent.beat({ jobs: [leased(id)] });
    const receipt = await agent.receipt(claimsOf(envelope), envelope);
    const old = agent.clone();
    await agent.beat({ receipts: [receipt] });
    await giveNewKey(control, agent);
    await agent.beat();
    await bringBack(control, made);
    expect((await readmit(agent)).status).toBe(200);
    await agent.signIn();
    expect((await agent.beat()).retell_after).toBe(0);
    expect((await agent.beat({ receipts: [receipt] })).acks).toHaveLength(1);
    expect(await get(control, API.job(id))).toMatchObject({
      outcome: "succeeded",
      receipt: { verified: true },
    });
    expect((await old.signIn()).status).toBe(200);
    expect(await old.held()).toMatchObject([{ order: { type: "terminal", reason: "superseded" } }]);
  });

  test("no more agents are taken back unconfirmed than the account can have had", async () => {
    const control = await places.start();
    await control.api("PUT", API.accountPlan, { max_agents: 1 });
    const made = await places.backup(control);
    const agents: ScriptedAgent[] = [];
    await control.api("PUT", API.accountPlan, { max_agents: 100 });
    for (let i = 0; i < 14; i++) agents.push(await ScriptedAgent.enrol(control.url, await mint(control)));
    await bringBack(control, made);
    const statuses: number[] = [];
    for (const agent of agents) statuses.push((await readmit(agent)).status);
    expect(statuses).toEqual([...Array(13).fill(200), 503]);
  });

  test("an agent that nobody has confirmed yet is shown as such", async () => {
    const control = await places.start();
    const made = await places.backup(control);
    const agent = await enrol(control);
    await bringBack(control, made);
    await readmit(agent);
    const shown = v.parse(AgentListSchema, await get(control, API.agents)).agents;
    expect(shown).toMatchObject([{ standing: "unconfirmed" }]);
    await control.api("POST", API.agentConfirm(agent.agentId), { reason: "it is ours" });
    expect(v.parse(AgentListSchema, await get(control, API.agents)).agents).toMatchObject([
      { standing: "live" },
    ]);
  });
});

describe("a quarantine", () => {
  test("given again takes back a recovery that has not happened yet", async () => {
    const control = await places.start();
    const agent = await enrol(control);
    await order(control, agent, { order: "quarantine" });
    await agent.held();
    const [found] = await anomalies(control);
    const path = API.anomalyAct(found?.id ?? "", "recover");
    expect((await control.api("POST", path, { reason: "x" })).status).toBe(200);
    const [text = ""] = ((await agent.sendBeat(agent.beatRequest())).json.orders ?? []).slice(-1);
    expect(claimsOf(text)).toMatchObject({ order: { type: "recover" } });
    await order(control, agent, { order: "quarantine", reason: "not that one" });
    expect((await agent.rekey(text)).text).toContain("REKEY_ORDER_REPLACED");
    const told = (await agent.sendBeat(agent.beatRequest())).json.orders.map((one) => claimsOf(one));
    expect(told).toEqual([]);
    expect((await control.api("POST", path, { reason: "that one after all" })).status).toBe(200);
    expect(await agent.held()).toMatchObject([{ order: { type: "recover" } }]);
  });

  test("does not lose sight of one process because a copy elsewhere speaks under ever new names", async () => {
    const control = await places.start();
    const agent = await enrol(control);
    await order(control, agent, { order: "quarantine" });
    const elsewhere = { "x-forwarded-for": "203.0.113.7" };
    const copy = agent.clone();
    for (let i = 0; i < 40; i++) {
      copy.inst = newNonce(random);
      for (let again = 0; again < 2; again++) {
        await copy.send("POST", ROUTES.heartbeat, { json: copy.beatRequest(), headers: elsewhere });
      }
    }
    agent.inst = newNonce(random); // restarted, heard once
    await agent.held();
    for (let i = 0; i < 40; i++) {
      copy.inst = newNonce(random);
      await copy.send("POST", ROUTES.heartbeat, { json: copy.beatRequest(), headers: elsewhere });
    }
    const [found] = await anomalies(control);
    const { instances } = (await get(control, API.anomaly(found?.id ?? ""))) as AnomalyView;
    expect(instances.map(({ inst }) => inst)).toContain(agent.inst);
    expect(instances.length).toBeLessThan(40);
  });
});

describe("a standby agent", () => {
  test.each(["an order", "a beat"])("is woken as soon as %s makes a slot free", async (how) => {
    const control = await places.start();
    await control.api("PUT", API.accountPlan, { max_agents: 1 });
    const holder = await enrol(control);
    const standby = await enrol(control);
    expect((await standby.beat()).slot.held).toBeFalse();
    const hangUp = new AbortController();
    const response = await fetch(`${standby.url}${ROUTES.wake}`, {
      headers: {
        authorization: `DPoP ${standby.bearer}`,
        dpop: await standby.proof("GET", ROUTES.wake, undefined, standby.bearer),
      },
      signal: hangUp.signal,
    });
    const told = wordIn(response, "event: beat");
    if (how === "an order") await order(control, holder, { order: "quarantine" });
    else await holder.sendBeat({ ...holder.beatRequest(), agent: { ...AGENT_FACTS, state: "quarantined" } });
    expect(await Promise.race([told, Bun.sleep(2_000).then(() => false)])).toBeTrue();
    hangUp.abort();
    expect((await standby.beat()).slot.held).toBeTrue();
  });
});
