// Goal: the account's slots go to those who wait longest, from holders that are silent, never from under a job.
// Method: a real server with one slot and a clock the test moves, two scripted agents.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { API } from "../../../src/protocol/api.ts";
import { mint, startTestControlPlane, submit, type TestControlPlane } from "./support/control-plane.ts";
import { claimsOf, ScriptedAgent } from "./support/scripted-agent.ts";

let control: TestControlPlane;
let holder: ScriptedAgent;
let waiting: ScriptedAgent;
let aheadS = 0;
beforeAll(async () => {
  control = await startTestControlPlane({ intervalS: 300 }); // leases of 960 s: longer than a slot is kept in silence
  await control.api("PUT", API.accountPlan, { max_agents: 1 });
  holder = await ScriptedAgent.enrol(control.url, await mint(control));
  waiting = await ScriptedAgent.enrol(control.url, await mint(control));
});
afterAll(async () => {
  await control.close();
});

/** Lets time pass for the server and both agents; who is to speak again signs in anew. */
async function pass(seconds: number): Promise<void> {
  aheadS += seconds;
  control.shift(seconds * 1000);
  for (const agent of [holder, waiting]) {
    agent.aheadS = aheadS;
    agent.dpopNonce = undefined;
    await agent.signIn();
  }
}

test("a slot under a job stays; under a silent agent without one it goes to who waits", async () => {
  await holder.beat();
  const id = await submit(control, { on_lost: "fail" });
  expect(await waiting.beat()).toMatchObject({ slot: { held: false, position: 1, max_agents: 1 }, jobs: [] });
  const [envelope = ""] = (await holder.beat()).jobs;
  const job = claimsOf(envelope);
  const named = { jti: job.jti, attempt: 1, state: "running" } as const;

  await holder.beat({ jobs: [named] });
  await pass(910);
  expect((await waiting.beat()).slot.held).toBeFalse(); // silent for more than a quarter of an hour, with a live lease
  await pass(55);
  expect((await waiting.beat()).slot).toEqual({ held: true, max_agents: 1 });
  const late = await holder.beat({ receipts: [await holder.receipt(job, envelope)] });
  expect(late).toMatchObject({ slot: { held: false, position: 1, max_agents: 1 } });
  expect(late.acks).toHaveLength(1);
  expect(job.jti as string).toBe(id);
});

test("an agent that waits is told who holds the slots, and gets one from a holder that is out", async () => {
  expect((await holder.beat()).slot).toEqual({
    held: false,
    position: 1,
    max_agents: 1,
    holders: ["host-a"],
  });
  await control.api("POST", API.agentOrders(waiting.agentId), { order: "quarantine", reason: "x" });
  expect((await holder.beat()).slot).toEqual({ held: true, max_agents: 1 });
  await waiting.held();
  const third = await ScriptedAgent.enrol(control.url, await mint(control), aheadS);
  expect((await third.beat()).slot).toMatchObject({ held: false, position: 1 });
  await control.api("POST", API.agentOrders(holder.agentId), { order: "terminate", reason: "x" });
  expect((await third.beat()).slot.held).toBeTrue();
  waiting = third;
  holder = await ScriptedAgent.enrol(control.url, await mint(control), aheadS);
});

test("a plan that grows lets the next one in, one that shrinks the latest out", async () => {
  await control.api("PUT", API.accountPlan, { max_agents: 2 });
  expect((await holder.beat()).slot.held).toBeTrue();
  await control.api("PUT", API.accountPlan, { max_agents: 1 });
  expect((await waiting.beat()).slot.held).toBeTrue();
  expect((await holder.beat()).slot).toMatchObject({ held: false, position: 1, max_agents: 1 });
  await submit(control);
  expect((await holder.beat()).jobs).toEqual([]);
  expect((await waiting.beat()).jobs).toHaveLength(1);
});
