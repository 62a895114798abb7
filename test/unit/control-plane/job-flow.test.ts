// Goal: one job goes its whole way over real HTTP, and nothing about it is lost when a side is restarted.
// Method: a real server on a free port, a scripted agent with real keys, the steps of the protocol one by one.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { API, type JobView } from "../../../src/protocol/api.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { mint, startTestControlPlane, submit, type TestControlPlane } from "./support/control-plane.ts";
import { claimsOf, ScriptedAgent } from "./support/scripted-agent.ts";

let control: TestControlPlane;
beforeAll(async () => {
  control = await startTestControlPlane();
});
afterAll(async () => {
  await control.close();
});

const view = async (id: string): Promise<JobView> =>
  (await (await control.api("GET", API.job(id))).json()) as JobView;

describe("a job", () => {
  test("from its submission to its verified receipt, the server restarted after every step", async () => {
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    await control.restart();
    await agent.beat();
    const id = await submit(control);
    await control.restart();

    const offer = await agent.beat();
    const [envelope = ""] = offer.jobs;
    const job = claimsOf(envelope);
    expect(job.jti as string).toBe(id);
    expect((await view(id)).state).toBe("offered");
    await control.restart();

    const named = { jti: job.jti, attempt: 1 } as const;
    const accepted = await agent.beat({ jobs: [{ ...named, state: "accepted" }] });
    expect(accepted.leases).toEqual([{ ...named, ttl_s: 300 }]);
    expect(accepted.jobs).toEqual([]);
    await control.restart();

    const progress = { step: "run", step_started_at: Date.now() };
    await agent.beat({ jobs: [{ ...named, state: "running", started_at: Date.now(), progress }] });
    expect(await view(id)).toMatchObject({ state: "running", step: "run" });
    expect((await agent.putLog(id, 1, 0, "hello ")).json).toEqual({ stored: 6, watched: false });
    await control.restart();
    expect((await agent.putLog(id, 1, 6, "world\n")).json).toEqual({ stored: 12, watched: false });

    const log = { sha256: sha256Of("hello world\n"), size: 12 };
    const receipt = await agent.receipt(job, envelope, { log });
    const done = await agent.beat({ receipts: [receipt] });
    expect(done.acks as string[]).toEqual([sha256Of(receipt)]);
    await control.restart();

    const shown = await view(id);
    expect(shown).toMatchObject({
      state: "finished",
      outcome: "succeeded",
      log_bytes: 12,
      log_verified: true,
    });
    expect(shown.receipt).toMatchObject({ sha256: sha256Of(receipt), jws: receipt, verified: true });
  });
});
