// Goal: whoever sits between agent and Control Plane, certificate and all, can keep them apart and nothing else; and a
// network that loses and delays is never mistaken for a thief.
// Method: compiled programs with a proxy between them that alters replies and requests, loses replies over restarts,
// and delivers the beat of a process that is dead.

import { afterEach, expect, test } from "bun:test";
import { eventually } from "../../dist-scripts/world.ts";
import { ROUTES } from "../../src/protocol/wire.ts";
import {
  agentView,
  anomalies,
  beatNow,
  eventsOf,
  finished,
  idle,
  restartAgent,
  shellJob,
  showJob,
  submit,
} from "../support/fleet.ts";
import { altered, type ProxiedFleet, startProxiedFleet } from "../support/wire-proxy.ts";

let fleet: ProxiedFleet | undefined;

afterEach(async () => {
  await fleet?.world.close();
  await fleet?.proxy.close();
  fleet = undefined;
}, 60_000);

type Json = Record<string, unknown>;
const LIES: readonly (readonly [string, (reply: Json) => object])[] = [
  ["leases that last for ever", (reply) => ({ ...reply, leases: longer(reply["leases"]) })],
  ["no leases", (reply) => ({ ...reply, leases: [] })],
  ["receipts acknowledged that were not stored", (reply) => ({ ...reply, acks: ["0".repeat(64)] })],
  ["another nonce", (reply) => ({ ...reply, next: "A".repeat(22) })],
  ["another number", (reply) => ({ ...reply, n: Number(reply["n"]) + 1 })],
  ["jobs taken away", (reply) => ({ ...reply, jobs: [] })],
  ["a held answer", ({ v, time, interval_s }) => ({ v, standing: "held", time, interval_s, orders: [] })],
  ["another interval", (reply) => ({ ...reply, interval_s: 300 })],
];
const longer = (leases: unknown) => (leases as Json[]).map((lease) => ({ ...lease, ttl_s: 86_400 }));

test("replies altered on the way are used for nothing, whatever was altered", async () => {
  fleet = await startProxiedFleet("altered");
  const { world, proxy } = fleet;
  await idle(world);
  const untold = new Map(LIES);
  const lied = new Set<string>();
  // The first reply to a request is a lie that changes something in it; asked again, the true one is let through.
  proxy.meddle = async ({ path, body, forward }) => {
    if (path !== ROUTES.heartbeat) return null;
    const { beat } = JSON.parse(new TextDecoder().decode(body)) as { beat: { rid: string } };
    const reply = await forward();
    if (reply.status !== 200 || lied.has(beat.rid)) return reply;
    const json = (await reply.clone().json()) as Json;
    const lie = [...untold].find(([, change]) => JSON.stringify(change(json)) !== JSON.stringify(json));
    if (lie === undefined) return reply;
    untold.delete(lie[0]);
    lied.add(beat.rid);
    return await altered(reply, lie[1]);
  };
  const jobs: string[] = [];
  await eventually(90_000, "every lie to be told", async () => {
    jobs.push((await submit(world, shellJob("echo ran"))).id);
    await finished(world, jobs.at(-1) ?? "", 60_000);
    return untold.size === 0 ? true : null;
  });
  const refused = await eventsOf(world, "beat.failed");
  expect(refused.map(({ code }) => code)).toEqual(LIES.map(() => "WIRE_REPLY_UNSIGNED"));
  for (const id of jobs) {
    const { outcome, attempt, receipt } = await showJob(world, id);
    expect([outcome, attempt, receipt?.verified, receipt?.chain]).toEqual(["succeeded", 1, true, "intact"]);
  }
  expect((await eventsOf(world, "job.started")).length).toBe(jobs.length);
  expect(await anomalies(world)).toEqual([]);
}, 180_000);

test("requests altered on the way are refused: no receipt is made away with", async () => {
  fleet = await startProxiedFleet("requests");
  const { world, proxy } = fleet;
  await idle(world);
  let robbed = 0;
  proxy.meddle = async ({ path, body, forward }) => {
    if (path !== ROUTES.heartbeat) return null;
    const beat = JSON.parse(new TextDecoder().decode(body)) as { receipts: string[] };
    if (beat.receipts.length === 0) return null;
    robbed += 1;
    return await forward(new TextEncoder().encode(JSON.stringify({ ...beat, receipts: [] })));
  };
  const { id } = await submit(world, shellJob("echo ran"));
  await eventually(30_000, "a receipt to be taken out", async () => (robbed > 1 ? true : null));
  expect((await showJob(world, id)).receipt).toBeNull();
  proxy.meddle = () => null;
  expect((await finished(world, id, 90_000)).receipt?.verified).toBe(true);
  expect(await anomalies(world)).toEqual([]);
}, 150_000);

test("two lost replies with two restarts, and the late beat of a dead process, raise no alarm", async () => {
  fleet = await startProxiedFleet("lost");
  const { world, proxy } = fleet;
  await idle(world);
  for (let restarts = 0; restarts < 2; restarts++) {
    let lost = false;
    proxy.meddle = async ({ path, forward }) => {
      if (path !== ROUTES.heartbeat) return null;
      const reply = await forward();
      if (reply.status === 200) lost = true;
      return new Response("bad gateway", { status: 502 });
    };
    await beatNow(fleet);
    await eventually(15_000, "a reply to be lost", async () => (lost ? true : null));
    await restartAgent(fleet);
  }
  const heard = await accepted(fleet);
  proxy.meddle = () => null;
  await beatNow(fleet);
  // From here on its proofs carry a nonce of the server's, so that one held back is a whole request.
  await eventually(30_000, "the last process to be heard", async () => {
    const now = await accepted(fleet);
    return now !== null && now !== heard ? now : null;
  });

  const late: (() => Promise<Response>)[] = [];
  proxy.meddle = ({ path, forward }) => {
    if (path !== ROUTES.heartbeat) return null;
    late.push(forward);
    return new Response("bad gateway", { status: 502 });
  };
  await beatNow(fleet);
  await eventually(15_000, "a beat to be held back", async () => (late.length > 0 ? true : null));
  proxy.meddle = () => null;
  await Bun.sleep(1100); // proofs carry whole seconds
  await restartAgent(fleet);
  const before = await accepted(fleet);
  await beatNow(fleet);
  await eventually(30_000, "the next process to be heard", async () => {
    const now = await accepted(fleet);
    return now !== null && now !== before ? now : null;
  });
  const answer = await late[0]?.();
  expect(answer?.status).toBe(409);
  expect(await answer?.json()).toMatchObject({ code: "BEAT_LATE" });
  expect(await anomalies(world)).toEqual([]);
  const { id } = await submit(world, shellJob("true"));
  await beatNow(fleet);
  expect((await finished(world, id, 60_000)).outcome).toBe("succeeded");
}, 180_000);

/** When the Control Plane last accepted a beat of the fleet's agent. */
async function accepted(known: ProxiedFleet | undefined): Promise<number | null> {
  if (known === undefined) return null;
  return (await agentView(known))?.last_beat_at ?? null;
}
