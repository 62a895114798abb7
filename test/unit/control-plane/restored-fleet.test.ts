// Goal: after a restore the fleet goes on by itself: no false alarm, nothing run twice, nothing forgotten; who came after
// the backup comes back for an admin to look at, and never around a cap.
// Method: real Control Planes brought back from real backups, agents that do what a test says.

import { afterEach, describe, expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { dataPaths } from "../../../src/control-plane/data/data-dir.ts";
import { adoptedBy } from "../../../src/control-plane/queue/held-jobs.ts";
import { API, type JobView } from "../../../src/protocol/api.ts";
import { newAgentId } from "../../../src/protocol/ids.ts";
import type { LicenseClaims } from "../../../src/protocol/trust.ts";
import { ROUTES } from "../../../src/protocol/wire.ts";
import { makeSealingKey } from "../../../src/trust/keys.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { bringBack, dirOf, into, Places } from "./support/backups.ts";
import { mint, random, submit, type TestControlPlane } from "./support/control-plane.ts";
import { jobRow } from "./support/job-row.ts";
import { giveNewKey } from "./support/recover.ts";
import { claimsOf, ScriptedAgent } from "./support/scripted-agent.ts";

const places = new Places();
afterEach(() => places.clean());
const start = () => places.start();
const backup = (control: TestControlPlane) => places.backup(control);

const jobOf = async (control: TestControlPlane, id: string): Promise<JobView> =>
  (await (await control.api("GET", API.job(id))).json()) as JobView;

describe("the fleet", () => {
  const named = (jti: string, attempt = 1) => ({ jti: jti as never, attempt, state: "running" as const });

  test("ahead of its restored server joins again without an anomaly; what it runs stays its own", async () => {
    const control = await start();
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    await agent.beat();
    const id = await submit(control);
    const made = await backup(control);
    const [envelope = ""] = (await agent.beat()).jobs;
    await agent.beat({ jobs: [named(id)], capacity: { max: 2, in_flight: 1 } });
    await agent.beat({ jobs: [named(id)], capacity: { max: 2, in_flight: 1 } });

    await bringBack(control, made);
    const back = await agent.beat({ jobs: [named(id)], capacity: { max: 2, in_flight: 1 } });
    expect(back.leases.map(({ jti, attempt }) => [jti as string, attempt])).toEqual([[id, 1]]);
    expect(claimsOf<LicenseClaims>(agent.license)).toMatchObject({ epoch: 2 });
    expect((await jobOf(control, id)).state).toBe("running");
    await agent.beat({ receipts: [await agent.receipt(claimsOf(envelope), envelope)] });
    expect(await jobOf(control, id)).toMatchObject({ state: "finished", outcome: "succeeded", attempt: 1 });
    const anomalies = await (await control.api("GET", API.anomalies)).json();
    expect(anomalies).toMatchObject({ anomalies: [] });
  });

  test("finished something after the backup: its receipt ends the job, which is not run again", async () => {
    const control = await start();
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    const other = await ScriptedAgent.enrol(control.url, await mint(control));
    const id = await submit(control);
    const made = await backup(control);
    const [envelope = ""] = (await agent.beat()).jobs;
    await agent.beat({ jobs: [named(id)] });
    const receipt = await agent.receipt(claimsOf(envelope), envelope);
    await agent.beat({ receipts: [receipt] });

    await bringBack(control, made);
    expect((await other.beat()).jobs).toEqual([]);
    expect((await agent.beat()).retell_after).toBe(0);
    expect((await agent.beat({ receipts: [receipt] })).acks).toEqual([sha256Of(receipt)]);
    expect(await jobOf(control, id)).toMatchObject({ state: "finished", outcome: "succeeded" });
    control.shift(1_000_000);
    for (const one of [agent, other]) {
      one.aheadS = 1000;
      await one.signIn();
      expect((await one.beat()).jobs).toEqual([]);
    }
  });

  test("gets what nobody names again after the hold, as another attempt; new jobs at once", async () => {
    const control = await start();
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    const queued = await submit(control);
    await agent.beat(); // offered, never named
    const made = await backup(control);
    await bringBack(control, made);
    await agent.beat();
    await agent.beat();
    expect((await jobOf(control, queued)).state).toBe("queued");
    const fresh = await submit(control);
    expect((await agent.beat()).jobs.map((text) => claimsOf(text).jti as string)).toEqual([fresh]);
    await agent.beat({ jobs: [named(fresh)], capacity: { max: 2, in_flight: 1 } });

    // A restart in the middle begins the hold anew: nobody could be heard meanwhile.
    control.shift(300_000);
    await control.restart();
    control.shift(200_000);
    agent.aheadS = 500;
    await agent.signIn();
    expect((await agent.beat()).jobs).toEqual([]);
    control.shift(170_000);
    agent.aheadS = 670;
    await agent.signIn();
    await Bun.sleep(2_200);
    const [envelope = ""] = (await agent.beat()).jobs;
    expect(claimsOf(envelope)).toMatchObject({ jti: queued as never, attempt: 2 });
  });
});

describe("a job held since a restore", () => {
  const AGENT = newAgentId(random);
  const OTHER = newAgentId(random);
  const held = (over: Parameters<typeof jobRow>[0]) => jobRow({ attempt: 2, ...over });

  test.each([
    ["queued, named in its attempt", held({ state: "queued" }), 2, { state: "leased", attempt: 2 }],
    ["queued, named in a later one", held({ state: "queued" }), 4, { state: "leased", attempt: 4 }],
    [
      "leased to another, named in a later one",
      held({ state: "leased", agent_id: OTHER }),
      3,
      { attempt: 3 },
    ],
    [
      "to be cancelled, and still is",
      held({ state: "cancelling", agent_id: OTHER }),
      2,
      { state: "cancelling" },
    ],
  ] as const)("%s becomes the agent's", (_, job, attempt, expected) => {
    expect(adoptedBy(job, AGENT, attempt, 5)).toMatchObject({ ...expected, agent_id: AGENT });
  });

  test("stays as it is when it is the agent's already, and another's when the agent speaks of an older attempt", () => {
    const own = held({ state: "running", agent_id: AGENT });
    expect(adoptedBy(own, AGENT, 2, 5)).toBe(own);
    expect(adoptedBy(held({ state: "queued" }), AGENT, 1, 5)).toBeNull();
    expect(adoptedBy(held({ state: "finished" }), AGENT, 2, 5)).toBeNull();
  });
});

describe("an agent activated after the backup", () => {
  const readmit = async (agent: ScriptedAgent, license = agent.license) =>
    await agent.send("POST", ROUTES.readmit, {
      json: {
        v: 1,
        license,
        identity_jwk: agent.identity.jwk,
        sealing_jwk: (await makeSealingKey()).key.jwk,
      },
      anonymous: true,
    });

  test("is not known, is taken back in standby on its license, and gets work once an admin has confirmed it", async () => {
    const control = await start();
    const made = await backup(control);
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    await agent.beat();
    const early = await readmit(agent);
    expect([early.status, early.json.code]).toEqual([403, "READMIT_REFUSED"]);
    await bringBack(control, made);
    expect((await agent.signIn()).text).toContain("AGENT_UNKNOWN");
    expect((await agent.sendBeat(agent.beatRequest())).text).toContain("BEARER_INVALID");
    expect((await readmit(agent)).status).toBe(200);
    expect((await readmit(agent)).status).toBe(200);
    await agent.signIn();
    await submit(control);
    for (let i = 0; i < 3; i++) {
      const { slot, jobs } = await agent.beat();
      expect([slot.held, jobs]).toEqual([false, []]);
    }
    const { anomalies } = (await (await control.api("GET", API.anomalies)).json()) as { anomalies: object[] };
    expect(anomalies).toMatchObject([
      { kind: "unknown_agent", agent_id: agent.agentId, count: 1, state: "open" },
    ]);
    const confirm = () => control.api("POST", API.agentConfirm(agent.agentId), { reason: "it is ours" });
    expect([(await confirm()).status, (await confirm()).status]).toEqual([200, 404]);
    const { slot, jobs } = await agent.beat();
    expect([slot.held, jobs.length]).toEqual([true, 1]);
    const resolved = await control.api("GET", `${API.anomalies}?state=resolved`);
    expect(await resolved.json()).toMatchObject({ anomalies: [{ kind: "unknown_agent" }] });
  });

  test("waits for a slot like any other: the cap holds", async () => {
    const control = await start();
    await control.api("PUT", API.accountPlan, { max_agents: 1 });
    const holder = await ScriptedAgent.enrol(control.url, await mint(control));
    await holder.beat();
    const made = await backup(control);
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    await bringBack(control, made);
    await readmit(agent);
    await agent.signIn();
    await control.api("POST", API.agentConfirm(agent.agentId), { reason: "it is ours" });
    expect((await agent.beat()).slot).toMatchObject({ held: false, max_agents: 1 });
    expect((await holder.beat()).slot.held).toBeTrue();
  });

  test("and ended since is not taken back, nor one with a license or a key of somebody else", async () => {
    const control = await start();
    const made = await backup(control);
    const ended = await ScriptedAgent.enrol(control.url, await mint(control));
    const other = await ScriptedAgent.enrol(control.url, await mint(control));
    await control.api("POST", API.agentOrders(ended.agentId), { order: "terminate", reason: "gone" });
    await bringBack(control, made);
    expect((await readmit(ended)).text).toContain("was ended");
    expect((await readmit(ended, other.license)).text).toContain("another key");
    expect((await readmit(other, `${other.license.slice(0, -4)}AAAA`)).text).toContain("READMIT_REFUSED");
    const stranger = await start();
    const foreign = await ScriptedAgent.enrol(stranger.url, await mint(stranger));
    expect(
      (await readmit(Object.assign(other.clone(), { identity: foreign.identity }), foreign.license)).text,
    ).toContain("READMIT_REFUSED");
    expect((await readmit(other)).status).toBe(200);
    const { anomalies } = (await (await control.api("GET", API.anomalies)).json()) as { anomalies: object[] };
    expect(anomalies).toHaveLength(1);
  });

  test("or given another key after it, comes back with that key; the old one stays out", async () => {
    for (const withLedger of [true, false]) {
      const control = await start();
      const agent = await ScriptedAgent.enrol(control.url, await mint(control));
      await agent.beat();
      const made = await backup(control);
      const old = agent.clone();
      await giveNewKey(control, agent);
      await agent.beat();
      await control.restart(async () => {
        if (!withLedger) await rm(dataPaths(dirOf(control)).ledger);
        await into(dirOf(control), made.path, { inPlace: true });
      });
      expect((await agent.signIn()).text).toContain("AGENT_UNKNOWN");
      expect((await readmit(agent)).status).toBe(200);
      await agent.signIn();
      expect((await agent.beat()).slot.held).toBeFalse();
      expect(claimsOf<LicenseClaims>(agent.license)).toMatchObject({
        epoch: 3,
        cnf: { jkt: agent.identity.kid },
      });
      expect((await old.signIn()).status).toBe(200);
      expect(await old.held()).toMatchObject([{ order: { type: "terminal", reason: "superseded" } }]);
      expect((await readmit(old)).text).toContain("READMIT_REFUSED");
      await control.api("POST", API.agentConfirm(agent.agentId), { reason: "it is ours" });
      expect((await agent.beat()).slot.held).toBeTrue();
    }
  });
});
