// Goal: logs and inputs reach exactly those they belong to, whole and unchanged, whatever is sent twice or cut off.
// Method: a real server, scripted agents with and without the lease, bytes checked against their digests.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFile } from "node:fs/promises";
import { API, JOB_LOG_HEADERS, type JobView } from "../../../src/protocol/api.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import {
  mint,
  SUBMISSION,
  startTestControlPlane,
  submit,
  type TestControlPlane,
} from "./support/control-plane.ts";
import { claimsOf, ScriptedAgent } from "./support/scripted-agent.ts";

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
const put = (path: string, body: Uint8Array, headers: Record<string, string> = {}) =>
  fetch(`${control.url}${path}`, {
    method: "PUT",
    headers: {
      authorization: `Bearer ${control.adminKey}`,
      "content-type": "application/octet-stream",
      ...headers,
    },
    body: new Uint8Array(body),
  });

async function running(changes: object = {}) {
  const agent = await enrol();
  await agent.beat();
  const id = await submit(control, changes);
  const [envelope = ""] = (await agent.beat()).jobs;
  const job = claimsOf(envelope);
  expect(job.jti as string).toBe(id);
  await agent.beat({ jobs: [{ jti: job.jti, attempt: 1, state: "running" }] });
  return { agent, id, envelope, job };
}

describe("a log", () => {
  test("grows at its end; the same bytes again are fine, other bytes and gaps are not", async () => {
    const { agent, id } = await running();
    expect((await agent.putLog(id, 1, 0, "one\n")).json.stored).toBe(4);
    expect((await agent.putLog(id, 1, 0, "one\n")).json.stored).toBe(4);
    expect((await agent.putLog(id, 1, 2, "e\ntwo\n")).json.stored).toBe(8);
    for (const [offset, text] of [
      [9, "gap"],
      [0, "One\n"],
      [4, "twO\nmore"],
    ] as const) {
      const refused = await agent.putLog(id, 1, offset, text);
      const problem = JSON.parse(refused.text) as { code: string; params: { stored: number } };
      expect([refused.status, problem.code, problem.params.stored]).toEqual([409, "API_OFFSET_MISMATCH", 8]);
    }
    expect((await agent.putLog(id, 1, 8, "")).json.stored).toBe(8);
  });

  test("ten at once, sent twice and out of order, end as one", async () => {
    const { agent, id } = await running();
    const text = Array.from({ length: 10 }, (_, i) => `line ${i}\n`).join("");
    const chunks = Array.from({ length: 10 }, (_, i) => i * 7).flatMap((offset) => [offset, offset]);
    await Promise.all(
      chunks.map(async (offset) => {
        for (;;) {
          const reply = await agent.putLog(id, 1, offset, text.slice(offset, offset + 7));
          if (reply.status === 200) return;
          await Bun.sleep(5);
        }
      }),
    );
    const log = await control.api("GET", API.jobLog(id));
    expect(await log.text()).toBe(text);
  });

  test("is taken from nobody but the agent that has the attempt", async () => {
    const { agent, id } = await running();
    const other = await enrol();
    for (const [who, attempt] of [
      [other, 1],
      [agent, 2],
    ] as const) {
      const refused = await who.putLog(id, attempt, 0, "x");
      expect([refused.status, refused.text.includes("LEASE_NOT_HELD")]).toEqual([403, true]);
    }
    const offered = await enrol();
    const next = await submit(control);
    const [envelope = ""] = (await offered.beat()).jobs;
    expect((await offered.putLog(next, 1, 0, "x")).status).toBe(403); // an offer is no lease
    await offered.beat({ receipts: [await offered.receipt(claimsOf(envelope), envelope)] });
  });

  test("may come after its receipt, as far as the receipt says, and is held against its digest", async () => {
    const { agent, id, job, envelope } = await running();
    await agent.putLog(id, 1, 0, "first ");
    const log = { sha256: sha256Of("first last"), size: 10 };
    await agent.beat({ receipts: [await agent.receipt(job, envelope, { log })] });
    expect((await view(id)).log_verified).toBeNull();
    const tooMuch = await agent.putLog(id, 1, 6, "last and more");
    expect([tooMuch.status, tooMuch.text.includes("API_BODY_OVERSIZED")]).toEqual([413, true]);
    await agent.putLog(id, 1, 6, "last");
    expect(await view(id)).toMatchObject({ log_bytes: 10, log_verified: true });
  });

  test("that is not the one of its receipt is shown as that", async () => {
    const { agent, id, job, envelope } = await running();
    await agent.putLog(id, 1, 0, "other");
    const log = { sha256: sha256Of("right"), size: 5 };
    await agent.beat({ receipts: [await agent.receipt(job, envelope, { log })] });
    await Bun.sleep(20);
    expect((await view(id)).log_verified).toBeFalse();
  });

  test("what a crash left behind its acknowledged end is overwritten", async () => {
    const { agent, id, job } = await running();
    await agent.putLog(id, 1, 0, "known ");
    const { logs } = control.running().paths;
    const { account_id } = await view(id);
    await appendFile(
      `${logs}/${account_id}/${job.jti}/1.main.log`,
      "torn bytes that were never acknowledged",
    );
    expect((await agent.putLog(id, 1, 6, "end\n")).json.stored).toBe(10);
    expect(await (await control.api("GET", API.jobLog(id))).text()).toBe("known end\n");
  });

  test("is followed: the answer waits for more, the agent hears that someone reads", async () => {
    const { agent, id } = await running();
    const first = await control.api("GET", API.jobLog(id));
    const cursor = first.headers.get(JOB_LOG_HEADERS.cursor) ?? "";
    const started = performance.now();
    const waiting = control.api("GET", `${API.jobLog(id)}?offset=0&wait_s=10&seen=${cursor}`);
    await Bun.sleep(50);
    expect((await agent.putLog(id, 1, 0, "now\n")).json).toEqual({ stored: 4, watched: true });
    const reply = await waiting;
    expect(await reply.text()).toBe("now\n");
    expect(performance.now() - started).toBeLessThan(2_000);
    expect(reply.headers.get(JOB_LOG_HEADERS.state)).toBe("running");
    const step = control.api("GET", `${API.jobLog(id)}?offset=4&wait_s=10&seen=${cursor}`);
    const progress = { step: "test", step_started_at: 1 };
    await agent.beat({ jobs: [{ jti: id as never, attempt: 1, state: "running", progress }] });
    expect((await step).headers.get(JOB_LOG_HEADERS.cursor)).not.toBe(cursor);
  });
});

describe("a blob", () => {
  const bytes = new TextEncoder().encode("the bundle");
  const sha256 = sha256Of(bytes);

  test("is kept under its digest alone, the same again included", async () => {
    expect((await put(API.blob(sha256), bytes)).status).toBe(201);
    expect(await (await put(API.blob(sha256), bytes)).json()).toEqual({ sha256, size: bytes.length });
    const wrong = await put(API.blob("0".repeat(64)), bytes);
    expect([wrong.status, (await wrong.text()).includes(sha256)]).toEqual([400, true]);
    const { blobs } = control.running().paths;
    expect([...new Bun.Glob("**/*.tmp").scanSync(blobs)]).toEqual([]);
  });

  test("must be there, with its size, before a job may name it", async () => {
    const refusedPath = async (blob: object) => {
      const reply = await control.api("POST", API.jobs, { ...SUBMISSION, blobs: [blob] });
      return ((await reply.json()) as { params: { path: string } }).params.path;
    };
    expect(await refusedPath({ name: "b", sha256: "1".repeat(64), size: 1 })).toBe("blobs.0.sha256");
    expect(await refusedPath({ name: "b", sha256, size: 1 })).toBe("blobs.0.size");
  });

  test("is given to the agent that holds a job which names it, and to nobody else", async () => {
    const blobs = [{ name: "repo", sha256, size: bytes.length }];
    const { agent, job } = await running({ blobs });
    expect(job.blobs).toEqual(blobs as never);
    expect((await agent.send("GET", `/v1/blobs/${sha256}`)).text).toBe("the bundle");
    const other = await enrol();
    for (const path of [`/v1/blobs/${sha256}`, `/v1/blobs/${"1".repeat(64)}`, "/v1/blobs/..%2fadmin.key"]) {
      const refused = await other.send("GET", path);
      expect([refused.status, refused.json.code]).toEqual([404, "API_NOT_FOUND"]);
    }
    await agent.beat({ receipts: [await agent.receipt(job, "x")] });
    expect((await agent.send("GET", `/v1/blobs/${sha256}`)).status).toBe(404);
  });
});
