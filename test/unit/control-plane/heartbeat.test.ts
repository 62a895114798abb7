// Goal: a heartbeat is applied once, answered verifiably, and its jobs, receipts and leases end where they should
// under retransmission, restarts, refusals, drains and changes of the plan.
// Method: a real server with a clock that tests move, scripted agents over HTTP.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { API, type JobView } from "../../../src/protocol/api.ts";
import type { LicenseClaims } from "../../../src/protocol/trust.ts";
import { newNonce } from "../../../src/trust/proof.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import {
  mint,
  random,
  startTestControlPlane,
  submit,
  type TestControlPlane,
} from "./support/control-plane.ts";
import { claimsOf, nowS, ScriptedAgent } from "./support/scripted-agent.ts";

let control: TestControlPlane;
beforeAll(async () => {
  control = await startTestControlPlane();
  await control.api("PUT", API.accountPlan, { max_agents: 100 });
});
afterAll(async () => {
  await control.close();
});

const enrol = async () => await ScriptedAgent.enrol(control.url, await mint(control));
const view = async (id: string) => (await (await control.api("GET", API.job(id))).json()) as JobView;
const codeOf = (reply: { text: string }) => (JSON.parse(reply.text) as { code?: string }).code;
const draining = (agent: ScriptedAgent) => ({
  agent: { ...agent.beatRequest().agent, state: "draining" as const },
});

/** An agent with one job in the state a beat can name it in. */
async function withJob(changes: object = {}) {
  const agent = await enrol();
  await agent.beat();
  const id = await submit(control, changes);
  const [envelope = ""] = (await agent.beat()).jobs;
  const job = claimsOf(envelope);
  expect(job.jti as string).toBe(id);
  return { agent, id, envelope, job, named: { jti: job.jti, attempt: job.attempt } };
}

describe("the chain over the wire", () => {
  test("answers a retransmission with the same bytes, and the agent goes on", async () => {
    const agent = await enrol();
    const request = agent.beatRequest();
    const first = await agent.sendBeat(request);
    await control.restart();
    const again = await agent.sendBeat(request);
    expect(again.text).toBe(first.text);
    await agent.take(again);
    expect((await agent.beat()).n).toBe(2);
  });

  test("gives a restarted agent that lost a reply another one, with license and keys again", async () => {
    const agent = await enrol();
    const lost = agent.beatRequest();
    await agent.sendBeat(lost);
    agent.inst = newNonce(random);
    // Who restarts within the same second is put off, and heard with the next try.
    expect(codeOf(await agent.sendBeat(agent.beatRequest()))).toBe("BEAT_LATE");
    agent.aheadS = 1;
    const reply = await agent.sendBeat(agent.beatRequest({}, lost.beat.rid));
    expect(reply.json.license).toBe(agent.license);
    expect(reply.json.trust).toBeDefined();
    await agent.take(reply);
    await agent.beat();
  });

  test("the first beat of a process that ended unheard, long under way, disturbs nobody", async () => {
    const agent = await enrol();
    await agent.beat();
    const unheard = agent.beatRequest();
    agent.inst = newNonce(random);
    agent.aheadS = 10;
    await agent.beat();
    expect(codeOf(await agent.sendBeat(unheard, { nowS: nowS() }))).toBe("BEAT_LATE");
    await agent.beat();
    expect(codeOf(await agent.sendBeat(unheard, { nowS: nowS() }))).toBe("BEAT_LATE");
    await agent.beat();
  });

  test("a late beat of a process that was followed changes nothing", async () => {
    const agent = await enrol();
    const late = agent.beatRequest();
    await agent.beat();
    agent.inst = newNonce(random);
    await agent.beat();
    const refused = await agent.sendBeat(late, { nowS: nowS() - 5 });
    expect([refused.status, codeOf(refused)]).toEqual([409, "BEAT_LATE"]);
  });

  test("a proof is good once, across a restart of the server", async () => {
    const agent = await enrol();
    const jti = newNonce(random);
    const request = agent.beatRequest();
    await agent.take(await agent.sendBeat(request, { jti }));
    expect(codeOf(await agent.sendBeat(request, { jti }))).toBe("DPOP_INVALID");
    await control.restart();
    expect(codeOf(await agent.sendBeat(request, { jti }))).toBe("DPOP_INVALID");
    await agent.beat();
  });

  test("many agents at once, one of them lying: only that one is held", async () => {
    const agents = await Promise.all(Array.from({ length: 6 }, enrol));
    const replies = await Promise.all(
      agents.map((agent, index) => {
        const request = agent.beatRequest();
        const wrong = { ...request, beat: { ...request.beat, nonce: newNonce(random) } };
        return agent.sendBeat(index === 3 ? wrong : request);
      }),
    );
    const live = (index: number) => (index === 3 ? "held" : "live");
    expect(replies.map(({ json }) => json.standing as string)).toEqual(agents.map((_, index) => live(index)));
  });

  test("one request sent twice at the same moment is applied once and answered twice alike", async () => {
    const agent = await enrol();
    const request = agent.beatRequest();
    const [first, second] = await Promise.all([agent.sendBeat(request), agent.sendBeat(request)]);
    expect([first.status, second.status]).toEqual([200, 200]);
    expect(second.text).toBe(first.text);
    await agent.take(second);
    expect((await agent.beat()).n).toBe(2);
  });

  test("a clock an hour off is told as that, with the server's time", async () => {
    const agent = await enrol();
    const refused = await agent.sendBeat(agent.beatRequest(), { nowS: nowS() - 3600 });
    const problem = JSON.parse(refused.text) as { code: string; time: number; params: object };
    expect([refused.status, problem.code]).toEqual([401, "WIRE_CLOCK_SKEW"]);
    expect(Math.abs(problem.time - Date.now())).toBeLessThan(5000);
    expect(refused.headers.get("date")).not.toBeNull();
  });
});

describe("jobs", () => {
  test("an offer that is not named is made again with a new number, and goes back when it cannot be taken", async () => {
    const { agent, id, job } = await withJob();
    const [again = ""] = (await agent.beat()).jobs;
    expect(claimsOf(again)).toMatchObject({ jti: job.jti, attempt: 1, seq: job.seq + 1 });
    await agent.beat(draining(agent));
    expect(await view(id)).toMatchObject({ state: "queued", attempt: 1, agent_id: null });
    const [third = ""] = (await agent.beat()).jobs;
    expect(claimsOf(third)).toMatchObject({ seq: job.seq + 2 });
    await agent.beat(draining(agent));
    await cancel(id);
  });

  test("an offer taken back and ended by the agent all the same is settled when the receipt is told again", async () => {
    const { agent, id, job, envelope } = await withJob();
    await agent.beat(draining(agent)); // not named, not takeable now: the offer goes back to the queue
    const receipt = await agent.receipt(job, envelope, { outcome: "interrupted", reason: "never_started" });
    await agent.beat({ ...draining(agent), receipts: [receipt] });
    expect(await view(id)).toMatchObject({ state: "queued", attempt: 1 });
    expect((await agent.beat()).jobs).toHaveLength(1); // offered again as the attempt this agent has ended
    const reply = await agent.beat({ receipts: [receipt] });
    expect(reply.acks).toHaveLength(1);
    expect(await view(id)).toMatchObject({ attempt: 2 });
    await agent.beat(draining(agent));
    await cancel(id);
  });

  test("one job goes to one of many agents that ask at the same moment", async () => {
    const agents = await Promise.all(Array.from({ length: 6 }, enrol));
    const id = await submit(control);
    const replies = await Promise.all(agents.map(async (agent) => await agent.beat()));
    expect(replies.flatMap(({ jobs }) => jobs)).toHaveLength(1);
    const index = replies.findIndex(({ jobs }) => jobs.length === 1);
    const [envelope = ""] = replies[index]?.jobs ?? [];
    const holder = agents[index];
    if (holder === undefined) throw new Error("someone has it");
    expect(await view(id)).toMatchObject({ state: "offered", agent_id: holder.agentId });
    await holder.beat({ receipts: [await holder.receipt(claimsOf(envelope), envelope)] });
  });

  test("handed back for want of room, it is not given to the same agent in the same breath", async () => {
    const { agent, id, named } = await withJob();
    expect((await agent.beat({ jobs: [{ ...named, state: "returned" }] })).jobs).toEqual([]);
    expect(await view(id)).toMatchObject({ state: "queued", attempt: 1 });
    expect((await agent.beat()).jobs).toHaveLength(1);
    await agent.beat(draining(agent));
    await cancel(id);
  });

  test("rejected by three envelopes, it ends refused with the agent's code", async () => {
    const { agent, id, envelope } = await withJob();
    let text = envelope;
    for (const left of [2, 1, 0]) {
      const rejected = [{ envelope_sha256: sha256Of(text), code: "JOB_LIFETIME" }];
      expect((await agent.beat({ rejected })).jobs).toEqual([]);
      if (left > 0) [text = ""] = (await agent.beat()).jobs;
    }
    expect(await view(id)).toMatchObject({ state: "finished", outcome: "refused", reason: "JOB_LIFETIME" });
  });

  test("an agent gets no lease for what another one holds", async () => {
    const { agent, named, job, envelope, id } = await withJob();
    const other = await enrol();
    const reply = await other.beat({ jobs: [{ ...named, state: "running" }] });
    expect(reply.leases).toEqual([]);
    const forged = await other.receipt(job, envelope);
    expect((await other.beat({ receipts: [forged] })).acks as string[]).toEqual([sha256Of(forged)]);
    expect(await view(id)).toMatchObject({ state: "offered", receipt: null });
    await agent.beat({ receipts: [await agent.receipt(job, envelope)] });
  });

  test("a silent agent's job is tried again when it may be; the late outcome is kept and decides nothing", async () => {
    const { agent, id, job, envelope, named } = await withJob({ on_lost: "requeue" });
    await agent.beat({ jobs: [{ ...named, state: "running" }] });
    await silenceUntil(async () => (await view(id)).state === "queued");
    const other = await enrol();
    const [second = ""] = (await other.beat()).jobs;
    expect(claimsOf(second)).toMatchObject({ jti: job.jti, attempt: 2 });
    const late = await agent.receipt(job, envelope);
    await agent.signIn();
    expect((await agent.beat({ receipts: [late] })).acks as string[]).toEqual([sha256Of(late)]);
    expect(await view(id)).toMatchObject({ state: "offered", attempt: 2, outcome: null });
    await other.beat({ receipts: [await other.receipt(claimsOf(second), second)] });
    expect(await view(id)).toMatchObject({ outcome: "succeeded", attempt: 2 });
  });

  test("one that must not be repeated stays its agent's, visibly overdue, until the outcome comes", async () => {
    const { agent, id, job, envelope, named } = await withJob();
    await agent.beat({ jobs: [{ ...named, state: "running" }] });
    await silenceUntil(async () => (await view(id)).state === "overdue");
    await agent.signIn();
    const receipt = await agent.receipt(job, envelope, { outcome: "failed", reason: "tests_failed" });
    await agent.beat({ receipts: [receipt] });
    expect(await view(id)).toMatchObject({ state: "finished", outcome: "failed" });
  });

  test("never started, it is queued again as another attempt; interrupted, it is over", async () => {
    const { agent, id, job, envelope } = await withJob();
    const never = await agent.receipt(job, envelope, { outcome: "interrupted", reason: "never_started" });
    const [second = ""] = (await agent.beat({ receipts: [never] })).jobs;
    expect(claimsOf(second)).toMatchObject({ jti: job.jti, attempt: 2 });
    const claims = { outcome: "interrupted", reason: "agent_restarted" } as const;
    await agent.beat({ receipts: [await agent.receipt(claimsOf(second), second, claims)] });
    expect(await view(id)).toMatchObject({ state: "finished", outcome: "interrupted", attempt: 2 });
    expect((await agent.beat()).jobs).toEqual([]);
  });
});

describe("receipts", () => {
  test("that do not verify are not acknowledged and keep nothing else from being heard", async () => {
    const { agent, id, job, envelope } = await withJob();
    const other = await enrol();
    const good = await agent.receipt(job, envelope);
    const foreign = await other.receipt(job, envelope, { iss: agent.agentId as never });
    const posing = await agent.receipt(job, envelope, { iss: other.agentId as never });
    const changed = `${good.slice(0, -9)}${good.at(-9) === "A" ? "B" : "A"}${good.slice(-8)}`;
    const reply = await agent.beat({ receipts: [foreign, posing, changed, "x.y.z", good, ""] });
    expect(reply.acks as string[]).toEqual([sha256Of(good)]);
    expect((await view(id)).outcome).toBe("succeeded");
  });

  test("sent again are acknowledged again; the first stays the one that decided", async () => {
    const { agent, id, job, envelope } = await withJob();
    const first = await agent.receipt(job, envelope);
    await agent.beat({ receipts: [first] });
    const second = await agent.receipt(job, envelope, { outcome: "failed", reason: "exit_nonzero" });
    expect((await agent.beat({ receipts: [first, second] })).acks).toHaveLength(2);
    const shown = await view(id);
    expect(shown.outcome).toBe("succeeded");
    expect(shown.receipt).toMatchObject({ sha256: sha256Of(first), verified: true });
  });

  test("out of the agent's chain are shown as not verified", async () => {
    const { agent, job, envelope } = await withJob();
    await agent.beat({ receipts: [await agent.receipt(job, envelope)] });
    const id = await submit(control);
    const [next = ""] = (await agent.beat()).jobs;
    agent.prevReceipt = "9".repeat(64);
    await agent.beat({ receipts: [await agent.receipt(claimsOf(next), next)] });
    expect((await view(id)).receipt?.verified).toBeFalse();
  });
});

describe("the plan", () => {
  test("changed, reaches every agent as a license with its next heartbeat; capacity follows", async () => {
    const agent = await enrol();
    expect((await agent.beat()).license).toBeUndefined();
    await control.api("PUT", API.accountPlan, { max_concurrent_tasks_per_agent: 1 });
    const ids = [await submit(control), await submit(control)];
    const reply = await agent.beat();
    expect(claimsOf<LicenseClaims>(reply.license ?? "")).toMatchObject({ max_concurrent_tasks_per_agent: 1 });
    expect(reply.jobs).toHaveLength(1);
    await agent.beat(draining(agent));
    await control.api("PUT", API.accountPlan, { max_concurrent_tasks_per_agent: 2 });
    for (const id of ids) await cancel(id);
  });

  test("a license past half its life is renewed; the license number stays", async () => {
    const agent = await enrol();
    const before = claimsOf<LicenseClaims>(agent.license);
    await agent.beat();
    agent.aheadS = 15 * 86_400 + 60;
    control.shift(agent.aheadS * 1000);
    await agent.signIn();
    const reply = await agent.beat();
    control.shift(-agent.aheadS * 1000);
    const renewed = claimsOf<LicenseClaims>(reply.license ?? "");
    expect([renewed.lic, renewed.epoch]).toEqual([before.lic, before.epoch]);
    expect(renewed.exp).toBeGreaterThan(before.exp);
    expect(renewed.jti).not.toBe(before.jti);
  });
});

/** Lets as much time pass on the server as ends a lease and its grace; agents sign in again after it. */
async function silenceUntil(condition: () => Promise<boolean>): Promise<void> {
  control.shift(361_000);
  const deadline = Date.now() + 3_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error("it did not come about");
    await Bun.sleep(50);
  }
  control.shift(-361_000);
}

/** Takes a queued job out of the way: an agent of its own refuses it. */
async function cancel(id: string): Promise<void> {
  const agent = await enrol();
  for (const envelope of (await agent.beat()).jobs) {
    const claims = { outcome: "refused", reason: "JOB_SCHEMA" } as const;
    await agent.beat({ receipts: [await agent.receipt(claimsOf(envelope), envelope, claims)] });
  }
  expect((await view(id)).state).toBe("finished");
}
