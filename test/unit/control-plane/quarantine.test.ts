// Goal: two holders of one identity, an older copy of its state, another machine: each stops the agent at once, is kept as
// a case with the evidence an admin needs, and nothing else does.
// Method: a real server, scripted agents and their copies; every case by the beat that shows it.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  type AgentDetail,
  type AnomalyKind,
  type AnomalySummary,
  type AnomalyView,
  API,
  type JobView,
} from "../../../src/protocol/api.ts";
import type { Fingerprint, LicenseClaims } from "../../../src/protocol/trust.ts";
import { ROUTES } from "../../../src/protocol/wire.ts";
import { newNonce } from "../../../src/trust/proof.ts";
import {
  mint,
  random,
  startTestControlPlane,
  submit,
  type TestControlPlane,
} from "./support/control-plane.ts";
import { claimsOf, FINGERPRINT, nowS, ScriptedAgent } from "./support/scripted-agent.ts";

let control: TestControlPlane;
beforeAll(async () => {
  control = await startTestControlPlane();
  await control.api("PUT", API.accountPlan, { max_agents: 100 });
});
afterAll(async () => {
  await control.close();
});

const enrol = async () => await ScriptedAgent.enrol(control.url, await mint(control));
const get = async <T>(path: string): Promise<T> => (await (await control.api("GET", path)).json()) as T;
const detail = (agent: ScriptedAgent) => get<AgentDetail>(API.agent(agent.agentId));
const job = (id: string) => get<JobView>(API.job(id));
const DIGEST = "d".repeat(64);

/** Beats made in one second count as made at once; who is to be later must be. */
const later = (agent: ScriptedAgent, seconds: number): ScriptedAgent => {
  agent.aheadS += seconds;
  return agent;
};

async function anomalies(agent: ScriptedAgent, state = "open"): Promise<AnomalySummary[]> {
  const list = await get<{ anomalies: AnomalySummary[] }>(`${API.anomalies}?state=${state}&limit=200`);
  return list.anomalies.filter(({ agent_id }) => agent_id === (agent.agentId as never));
}
const kinds = async (agent: ScriptedAgent) => (await anomalies(agent)).map(({ kind }) => kind);
async function show(agent: ScriptedAgent, kind: AnomalyKind): Promise<AnomalyView> {
  const found = (await anomalies(agent)).find((one) => one.kind === kind);
  if (found === undefined) throw new Error(`there is no ${kind}`);
  return await get<AnomalyView>(API.anomaly(found.id));
}
const machine = (changes: Partial<Fingerprint["components"]>): Fingerprint => ({
  ...FINGERPRINT,
  components: { ...FINGERPRINT.components, ...changes },
});
const seal = (ctr: number, head_seq: number, head = DIGEST) =>
  ({ ctr, root: DIGEST, head_seq, head }) as never;

describe("a copy beside the original", () => {
  test("is caught within two beats of both, and both are held with the same order", async () => {
    const agent = await enrol();
    await agent.beat();
    const copy = later(agent.clone(), 1);
    await copy.beat(); // the copy is first: for the server it is the agent, restarted
    const [order] = await later(agent, 2).held();
    expect(order).toMatchObject({ seq: 1, order: { type: "quarantine" } });
    expect(await later(copy, 2).held()).toMatchObject([{ seq: 1, order: { type: "quarantine" } }]);
    expect(await agent.held()).toEqual([]); // taken: not told again
    const { agent: shown } = await detail(agent);
    expect(shown).toMatchObject({ standing: "quarantined", slot_held: false, open_anomalies: 1 });
    expect(shown.standing_reason).toContain("clone");
  });

  test("leaves evidence of each process, side by side", async () => {
    const agent = await enrol();
    await agent.beat();
    await agent.beat();
    const copy = later(agent.clone(), 1);
    const host = { ...copy.beatRequest().host, hostname: "host-b" };
    const elsewhere = { host, fingerprint: machine({ board_serial: "b".repeat(22) }) };
    await copy.beat(elsewhere);
    await later(agent, 2).held();
    await agent.held();
    const { instances, evidence, count } = await show(agent, "clone");
    expect(count).toBe(1);
    expect(evidence.first).toMatchObject({ sign: "superseded_instance", shown: { hostname: "host-a" } });
    const [first, second] = instances;
    expect(first).toMatchObject({ inst: agent.inst, hostname: "host-a", beats: 4, heard_since: true });
    expect(second).toMatchObject({ inst: copy.inst, hostname: "host-b", in_chain: true, heard_since: false });
    expect(second?.address).toBe("127.0.0.1");
    expect(second?.fingerprint).toMatchObject({ verdict: "match", enriched: [] }); // taken in when it spoke
    expect(first?.fingerprint).toMatchObject({ verdict: "match", lost: ["board_serial"] });
  });

  test("that calls itself otherwise each time does not push the original out of the evidence", async () => {
    const agent = await enrol();
    await agent.beat();
    await agent.beat();
    const copy = later(agent.clone(), 1);
    await copy.beat();
    await later(agent, 2).held();
    for (let turn = 0; turn < 40; turn++) await later(copy.clone(), 2).held();
    const { instances } = await show(agent, "clone");
    expect(instances).toHaveLength(16); // all of one address
    expect(instances[0]).toMatchObject({ inst: agent.inst, beats: 3 });
  });

  test("of the memory, under the same name, is caught by its requests", async () => {
    const agent = await enrol();
    await agent.beat();
    const copy = agent.clone(agent.inst);
    await agent.beat();
    expect(await copy.held()).toMatchObject([{ order: { type: "quarantine" } }]);
    expect(await kinds(agent)).toEqual(["stale_nonce"]);
  });

  test("that shows a nonce taken back is one", async () => {
    const agent = await enrol();
    await agent.beat();
    const copy = later(agent.clone(), 1);
    await agent.beat();
    await copy.beat(); // the same nonce from another process: taken for a lost reply
    expect(await later(agent.clone(), 3).held()).toHaveLength(1);
    expect((await show(agent, "clone")).evidence.first).toMatchObject({ sign: "revoked_nonce" });
  });
});

describe("an older copy of the state", () => {
  test("restored alone shows an old nonce", async () => {
    const agent = await enrol();
    const backup = agent.clone();
    await agent.beat();
    await agent.beat();
    expect(await later(backup, 1).held()).toHaveLength(1);
    expect(await kinds(agent)).toEqual(["stale_nonce"]);
  });

  test.each([
    ["a lower seal number", seal(6, 3)],
    ["fewer receipts", seal(7, 2)],
    ["another last receipt", seal(7, 3, "e".repeat(64))],
  ])("shows %s", async (_, shown) => {
    const agent = await enrol();
    await agent.beat({ seal: seal(7, 3) });
    expect(await agent.held({ seal: shown })).toHaveLength(1);
    expect(await kinds(agent)).toEqual(["seal_rollback"]);
  });

  test("is not seen in seals that grow, nor before the first one", async () => {
    const agent = await enrol();
    await agent.beat();
    for (const told of [seal(7, 3), seal(7, 3), seal(8, 4), null, seal(9, 9)])
      await agent.beat({ seal: told });
    expect(await anomalies(agent)).toEqual([]);
  });
});

describe("the machine", () => {
  test("that is another one stops the agent; no receipt, lease or job of that beat counts", async () => {
    const agent = await enrol();
    await agent.beat();
    const id = await submit(control);
    const [envelope = ""] = (await agent.beat()).jobs;
    const claims = claimsOf(envelope);
    const elsewhere = machine({ product_uuid: "x".repeat(22) });
    const named = { jti: claims.jti, attempt: 1, state: "accepted" } as const;
    await agent.held({ fingerprint: elsewhere, jobs: [named] });
    expect(await job(id)).toMatchObject({ state: "queued", attempt: 1, agent_id: null });
    const { evidence } = await show(agent, "fingerprint_mismatch");
    expect(evidence.first).toMatchObject({ rule: "vm_clone", changed: ["product_uuid"] });
    await control.api("POST", API.jobCancel(id), {});
  });

  test("that is not quite the same is told, and goes on", async () => {
    const agent = await enrol();
    const components = { product_uuid: "u".repeat(22), device_tree_serial: "t".repeat(22) };
    const fingerprint: Fingerprint = { ...FINGERPRINT, components };
    await agent.beat({ fingerprint, fingerprint_unknown: [] });
    expect(await kinds(agent)).toEqual(["fingerprint_drift"]);
  });

  test("that shows more than at enrolment is enrolled with it, and licensed so", async () => {
    const agent = await enrol();
    await agent.beat();
    const richer = machine({ board_serial: "b".repeat(22), root_disk: "r".repeat(22) });
    const { license } = await agent.beat({ fingerprint: richer });
    const { fp } = claimsOf<LicenseClaims>(license ?? "");
    expect(fp.components).toEqual(richer.components);
    expect(fp.id).toMatch(/^fp_/);
    expect((await agent.beat({ fingerprint: richer })).license).toBeUndefined();
    expect(await anomalies(agent)).toEqual([]);
  });

  test("whose parts could not be read is the same machine", async () => {
    const agent = await enrol();
    const { machine_id } = FINGERPRINT.components;
    const blind: Fingerprint = { ...FINGERPRINT, components: { ...(machine_id ? { machine_id } : {}) } };
    await agent.beat({ fingerprint: blind, fingerprint_unknown: ["product_uuid"] });
    expect(await anomalies(agent)).toEqual([]);
  });
});

describe("an alarm", () => {
  const beatWith = (agent: ScriptedAgent, changes: object) =>
    agent.beat({ agent: { ...agent.beatRequest().agent, ...changes } });

  test("is raised once and counted, and nobody is stopped", async () => {
    const agent = await enrol();
    const integrity = [{ code: "SEAL_MODIFIED", name: "license.jwt" }];
    for (let turn = 0; turn < 12; turn++) await agent.beat({ integrity });
    await beatWith(agent, { bundle: "unverified" });
    await agent.beat({ clock: { now: Date.now(), offset_ms: -45_000 } });
    expect((await kinds(agent)).sort()).toEqual(["bundle_mismatch", "clock_skew", "tampered"]);
    const { count, evidence, what } = await show(agent, "tampered");
    expect([count, evidence.latest.length]).toEqual([12, 8]);
    expect(what).toContain("license.jwt (SEAL_MODIFIED)");
  });

  test("tells of a clock too far off to be listened to", async () => {
    const agent = await enrol();
    await agent.beat();
    const refused = await agent.sendBeat(agent.beatRequest(), { nowS: nowS() - 4000 });
    expect(refused.json as object).toMatchObject({ code: "WIRE_CLOCK_SKEW" });
    const deadline = Date.now() + 2_000;
    while ((await anomalies(agent)).length === 0 && Date.now() < deadline) await Bun.sleep(10);
    expect(await kinds(agent)).toEqual(["clock_skew"]);
  });

  test("of receipts that cannot be used keeps them apart from those that can", async () => {
    const agent = await enrol();
    const reply = await agent.beat({ receipts: ["a.b.c"] });
    expect(reply.acks).toEqual([]);
    expect(await kinds(agent)).toEqual(["receipt_unusable"]);
  });

  test("that the server is behind quarantines nobody", async () => {
    const agent = await enrol();
    const { n } = agent;
    agent.n = 7;
    const refused = await agent.sendBeat(agent.beatRequest());
    expect([refused.status, (refused.json as unknown as { code: string }).code]).toEqual([409, "BEAT_AHEAD"]);
    expect(await kinds(agent)).toEqual(["server_rollback"]);
    agent.n = n;
    await agent.beat();
  });

  test("is resolved by saying why; a case that stops an agent is not", async () => {
    const agent = await enrol();
    await beatWith(agent, { bundle: "unverified" });
    const { id } = await show(agent, "bundle_mismatch");
    const resolve = (of: string) => control.api("POST", API.anomalyAct(of, "resolve"), { reason: "known" });
    expect(await (await resolve(id)).json()).toMatchObject({ state: "resolved", resolution: "known" });
    expect((await resolve(id)).status).toBe(409);
    await beatWith(agent, { bundle: "unverified" });
    expect(await anomalies(agent)).toHaveLength(1); // the same again is a new case
    await control.api("POST", API.agentOrders(agent.agentId), { order: "quarantine", reason: "looks odd" });
    const ordered = await show(agent, "operator_quarantine");
    expect(ordered.what).toContain("looks odd");
    expect(await (await resolve(ordered.id)).json()).toMatchObject({ code: "ANOMALY_NOT_AN_ALARM" });
  });
});

describe("a quarantined agent", () => {
  test("gets no jobs and keeps none it never took; what has a lease ends by it", async () => {
    const agent = await enrol();
    await agent.beat();
    const [leased, offered] = [await submit(control), await submit(control)];
    const [first = ""] = (await agent.beat()).jobs;
    const named = { jti: claimsOf(first).jti, attempt: 1, state: "running" } as const;
    await agent.beat({ jobs: [named], capacity: { max: 2, in_flight: 1 } });
    await control.api("POST", API.agentOrders(agent.agentId), { order: "quarantine", reason: "x" });
    expect(await job(leased)).toMatchObject({ state: "running" });
    expect(await job(offered)).toMatchObject({ state: "queued", agent_id: null });
    expect((await detail(agent)).agent.slot_held).toBeTrue(); // not from under a lease
    expect(await agent.held({ jobs: [named] })).toMatchObject([
      { order: { type: "quarantine", reason: "x" } },
    ]);
    for (const [method, path] of [["GET", `/v1/blobs/${"0".repeat(64)}`]] as const) {
      expect((await agent.send(method, path)).json.code).toBe("AGENT_QUARANTINED");
    }
    await control.api("POST", API.jobCancel(offered), {});
    control.shift(400_000);
    const deadline = Date.now() + 3_000;
    while ((await job(leased)).state !== "overdue" && Date.now() < deadline) await Bun.sleep(50);
    control.shift(-400_000);
    expect((await job(leased)).state).toBe("overdue");
  });

  test("that found out by itself can be recovered as well", async () => {
    const agent = await enrol();
    const changes = { agent: { ...agent.beatRequest().agent, state: "quarantined" as const } };
    expect(await agent.held(changes)).toHaveLength(1);
    expect(await kinds(agent)).toEqual(["self_quarantined"]);
  });

  test("stays so over a restart, and may listen for the way out", async () => {
    const agent = await enrol();
    await control.api("POST", API.agentOrders(agent.agentId), { order: "quarantine", reason: "x" });
    await control.restart();
    expect(await agent.held()).toHaveLength(1);
    const line = await fetch(`${agent.url}${ROUTES.wake}`, {
      headers: {
        authorization: `DPoP ${agent.bearer}`,
        dpop: await agent.proof("GET", ROUTES.wake, undefined, agent.bearer, { jti: newNonce(random) }),
      },
    });
    expect(line.status).toBe(200);
    await line.body?.cancel();
  });
});
