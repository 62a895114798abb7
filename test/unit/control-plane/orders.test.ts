// Goal: what an operator tells an agent reaches it signed, in order, until it is taken; what contradicts is settled; a
// cancelled job ends once and is never run again; an ended agent stays ended.
// Method: the settlement as a pure function; the rest on a real server with scripted agents that take orders or do not.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { settle } from "../../../src/control-plane/orders/settle.ts";
import type { OrderRow } from "../../../src/control-plane/store/schema.ts";
import { type AgentDetail, API, type JobView } from "../../../src/protocol/api.ts";
import type { Order } from "../../../src/protocol/order.ts";
import { ROUTES } from "../../../src/protocol/wire.ts";
import { verifyOrder } from "../../../src/trust/order.ts";
import { mint, startTestControlPlane, submit, type TestControlPlane } from "./support/control-plane.ts";
import { claimsOf, nowS, ScriptedAgent } from "./support/scripted-agent.ts";

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
const give = async (agent: ScriptedAgent, order: string, more: object = {}) => {
  const body = { order, reason: "because", ...more };
  const reply = await control.api("POST", API.agentOrders(agent.agentId), body);
  return { status: reply.status, ...((await reply.json()) as AgentDetail & { code?: string }) };
};
const view = async (id: string) => (await (await control.api("GET", API.job(id))).json()) as JobView;
const cancel = (id: string, reason = "not needed") => control.api("POST", API.jobCancel(id), { reason });
const telling = (agent: ScriptedAgent, state: "draining" | "terminal") => ({
  agent: { ...agent.beatRequest().agent, state },
});

describe("orders", () => {
  test("are delivered signed for this agent until they are taken, and no more after that", async () => {
    const agent = await enrol();
    const given = await give(agent, "drain");
    expect(given.agent.open_orders).toMatchObject([{ type: "drain", seq: 1, reason: "because" }]);
    const [text = ""] = (await agent.beat()).orders;
    const ctx = { trust: agent.trust, license: { sub: agent.agentId as never, epoch: 1 } };
    const at = { jkt: agent.identity.kid, inst: agent.inst, lastSeq: 0, nowS: nowS() };
    const judged = await verifyOrder(text, { ...ctx, ...at });
    expect(judged).toMatchObject({
      verdict: "verified",
      order: { claims: { seq: 1, order: { type: "drain" } } },
    });
    const again = (await agent.beat()).orders;
    expect(again).toHaveLength(1); // not taken: told again, signed anew
    agent.takeOrders(again);
    expect((await agent.beat()).orders).toEqual([]);
    expect((await give(agent, "resume")).orders).toMatchObject([
      { type: "resume", seq: 2, state: "open" },
      { type: "drain", seq: 1, state: "taken" },
    ]);
  });

  test("survive a restart of the server", async () => {
    const agent = await enrol();
    await give(agent, "stop", { grace_s: 7 });
    await control.restart();
    const [order] = agent.takeOrders((await agent.beat()).orders);
    expect(order?.order).toEqual({ type: "stop", grace_s: 7 });
  });

  test("that came with a lost reply come again", async () => {
    const agent = await enrol();
    await give(agent, "drain");
    const lost = agent.beatRequest();
    await agent.sendBeat(lost);
    const reply = await agent.sendBeat(lost);
    expect(agent.takeOrders((await agent.take(reply)).orders)).toMatchObject([{ seq: 1 }]);
  });

  test("to drain stop offers with the very reply that brings them", async () => {
    const agent = await enrol();
    const id = await submit(control);
    await give(agent, "drain");
    const reply = await agent.beat();
    expect([reply.orders.length, reply.jobs.length]).toEqual([1, 0]);
    expect((await cancel(id)).status).toBe(200);
  });

  test("the last one of drain, stop and resume counts", async () => {
    const agent = await enrol();
    await give(agent, "drain");
    await give(agent, "stop");
    expect((await give(agent, "resume")).agent.open_orders).toMatchObject([{ type: "resume", seq: 3 }]);
    expect(agent.takeOrders((await agent.beat()).orders)).toMatchObject([{ order: { type: "resume" } }]);
  });

  test("cannot be given to another one's agent, or without a reason", async () => {
    const agent = await enrol();
    expect((await give(agent, "drain", { reason: "" })).status).toBe(400);
    expect((await give(agent, "cancel")).status).toBe(400);
    const nobody = API.agentOrders("agt_00000000000000000000");
    expect((await control.api("POST", nobody, { order: "drain", reason: "x" })).status).toBe(404);
  });
});

describe("settling", () => {
  const row = (seq: number, order: Order): OrderRow =>
    ({ seq, type: order.type, body: JSON.stringify(order) }) as unknown as OrderRow;
  const drain: Order = { type: "drain" };
  const resume: Order = { type: "resume" };
  const end: Order = { type: "terminal", reason: "x", grace_s: 0 };
  const cancelled: Order = { type: "cancel", jti: "job_00000000000000000000" as never };
  const seqs = (orders: readonly OrderRow[]) => orders.map(({ seq }) => seq);

  test.each([
    ["a resume replaces a drain", [row(1, drain)], resume, [1]],
    ["a drain after drain and resume is new", [row(1, drain), row(2, resume)], drain, [1, 2]],
    ["a cancellation replaces nothing", [row(1, drain)], cancelled, []],
    ["the end replaces everything", [row(1, drain), row(2, cancelled)], end, [1, 2]],
  ] as const)("%s", (_, open, order, expected) => {
    const { same, superseded } = settle(open, order);
    expect([same, seqs(superseded)]).toEqual([null, [...expected]]);
  });

  test("what was said last is not said twice", () => {
    expect(settle([row(1, drain)], drain)).toMatchObject({ same: { seq: 1 }, superseded: [] });
    expect(settle([row(1, drain), row(4, cancelled)], cancelled).same?.seq).toBe(4);
    expect(settle([row(1, end)], { ...end, reason: "y" }).same?.seq).toBe(1);
  });
});

describe("a cancelled job", () => {
  test("that is queued is over at once; again changes nothing", async () => {
    const id = await submit(control);
    expect(await (await cancel(id)).json()).toMatchObject({
      state: "finished",
      outcome: "cancelled",
      reason: "order_cancel",
      cancel_reason: "not needed",
    });
    expect((await cancel(id, "other")).status).toBe(200);
    expect((await view(id)).cancel_reason).toBe("not needed");
  });

  test("that was offered and never taken is over with the next beat", async () => {
    const agent = await enrol();
    const id = await submit(control);
    expect((await agent.beat()).jobs).toHaveLength(1);
    expect(await (await cancel(id)).json()).toMatchObject({ state: "cancelling" });
    const reply = await agent.beat();
    expect(reply.jobs).toEqual([]);
    expect(agent.takeOrders(reply.orders)).toMatchObject([{ order: { type: "cancel", jti: id } }]);
    expect(await view(id)).toMatchObject({ state: "finished", outcome: "cancelled" });
  });

  test("that was taken but has no lease gets none", async () => {
    const agent = await enrol();
    const id = await submit(control);
    const [envelope = ""] = (await agent.beat()).jobs;
    const job = claimsOf(envelope);
    await cancel(id);
    const named = { jti: job.jti, attempt: 1, state: "accepted" } as const;
    expect((await agent.beat({ jobs: [named] })).leases).toEqual([]);
    const never = { outcome: "lease_lost", reason: "never_started" } as const;
    await agent.beat({ receipts: [await agent.receipt(job, envelope, never)] });
    expect(await view(id)).toMatchObject({ state: "finished", outcome: "cancelled", attempt: 1 });
  });

  test("that runs keeps its lease until the agent has ended it; a receipt that was first wins", async () => {
    for (const [outcome, reason] of [
      ["cancelled", "order_cancel"],
      ["succeeded", "exit_zero"],
    ] as const) {
      const agent = await enrol();
      const id = await submit(control);
      const [envelope = ""] = (await agent.beat()).jobs;
      const job = claimsOf(envelope);
      const named = { jti: job.jti, attempt: 1, state: "running" } as const;
      await agent.beat({ jobs: [named] });
      await cancel(id);
      expect((await view(id)).state).toBe("cancelling");
      expect((await agent.beat({ jobs: [named] })).leases).toHaveLength(1);
      await agent.beat({ receipts: [await agent.receipt(job, envelope, { outcome, reason })] });
      expect(await view(id)).toMatchObject({ state: "finished", outcome, reason });
      expect((await cancel(id)).status).toBe(outcome === "cancelled" ? 200 : 409);
    }
  });

  test("of a silent agent ends with its lease, and nobody gets it", async () => {
    const agent = await enrol();
    const id = await submit(control, { on_lost: "requeue" });
    const [envelope = ""] = (await agent.beat()).jobs;
    const job = claimsOf(envelope);
    await agent.beat({ jobs: [{ jti: job.jti, attempt: 1, state: "running" }] });
    await cancel(id);
    control.shift(361_000);
    const deadline = Date.now() + 3_000;
    while ((await view(id)).state !== "finished" && Date.now() < deadline) await Bun.sleep(50);
    control.shift(-361_000);
    expect(await view(id)).toMatchObject({ state: "finished", outcome: "cancelled", attempt: 1 });
  });
});

test("a cancelled offer of a silent agent is over with the offer", async () => {
  const agent = await enrol();
  const id = await submit(control);
  await agent.beat();
  await cancel(id);
  control.shift(200_000);
  const deadline = Date.now() + 3_000;
  while ((await view(id)).state !== "finished" && Date.now() < deadline) await Bun.sleep(50);
  control.shift(-200_000);
  expect(await view(id)).toMatchObject({ state: "finished", outcome: "cancelled" });
});

describe("an agent that is ended", () => {
  test("delivers what it owes, gets nothing, and is gone from everything but the list", async () => {
    const agent = await enrol();
    await submit(control);
    const [envelope = ""] = (await agent.beat()).jobs;
    const job = claimsOf(envelope);
    await agent.beat({ jobs: [{ jti: job.jti, attempt: 1, state: "running" }] });
    expect((await give(agent, "terminate", { grace_s: 5 })).agent).toMatchObject({ standing: "ending" });
    const reply = await agent.beat({ jobs: [{ jti: job.jti, attempt: 1, state: "running" }] });
    const [order] = agent.takeOrders(reply.orders);
    expect(order?.order).toEqual({ type: "terminal", reason: "because", grace_s: 5 });
    expect(reply.leases).toHaveLength(1);
    const receipt = await agent.receipt(job, envelope, { outcome: "cancelled", reason: "order_terminal" });
    const last = await agent.beat({ receipts: [receipt] });
    expect([last.acks.length, last.orders.length]).toEqual([1, 0]);
    await agent.beat(telling(agent, "terminal"));
    const list = (await (await control.api("GET", API.agents)).json()) as { agents: AgentDetail["agent"][] };
    expect(list.agents.find((one) => one.id === (agent.agentId as string))).toMatchObject({
      standing: "ended",
      standing_reason: "because",
      slot_held: false,
    });
    const refused = await agent.send("GET", ROUTES.wake);
    expect([refused.status, refused.json.code]).toEqual([403, "AGENT_ENDED"]);
    expect(await give(agent, "drain")).toMatchObject({ status: 403, code: "AGENT_ENDED" });
  });

  test("is told so again when an old copy of it speaks", async () => {
    const agent = await enrol();
    const copy = agent.clone();
    await give(agent, "terminate");
    agent.takeOrders((await agent.beat()).orders);
    await agent.beat(telling(agent, "terminal"));
    await Bun.sleep(1_000); // proofs have whole seconds: a beat of the same one would count as late
    const [order] = await copy.held();
    expect(order?.order).toMatchObject({ type: "terminal" });
  });
});
