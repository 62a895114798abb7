// Goal: an agent that listens is told to beat when there is something for it, and never more than that.
// Method: real lines over HTTP, read as they come.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { API } from "../../../src/protocol/api.ts";
import { ROUTES } from "../../../src/protocol/wire.ts";
import { mint, startTestControlPlane, submit, type TestControlPlane } from "./support/control-plane.ts";
import { ScriptedAgent } from "./support/scripted-agent.ts";

let control: TestControlPlane;
beforeAll(async () => {
  control = await startTestControlPlane({ maxWakes: 3 });
});
afterAll(async () => {
  await control.close();
});

/** An open line: its text so far, and whether it has ended. */
interface Line {
  text: string;
  ended: boolean;
  readonly close: () => void;
}

async function listen(agent: ScriptedAgent): Promise<Line> {
  if (agent.dpopNonce === undefined) await agent.signIn();
  const hangUp = new AbortController();
  const response = await fetch(`${agent.url}${ROUTES.wake}`, {
    headers: {
      authorization: `DPoP ${agent.bearer}`,
      dpop: await agent.proof("GET", ROUTES.wake, undefined, agent.bearer),
    },
    signal: hangUp.signal,
  });
  if (response.status !== 200) throw new Error(await response.text());
  expect(response.headers.get("x-accel-buffering")).toBe("no");
  expect(response.headers.get("cache-control")).toContain("no-transform");
  const line: Line = { text: "", ended: false, close: () => hangUp.abort() };
  void read(response, line);
  return line;
}

async function read(response: Response, line: Line): Promise<void> {
  try {
    for await (const chunk of response.body ?? []) line.text += new TextDecoder().decode(chunk);
  } catch (error) {
    if (!(error instanceof Error)) throw error; // hung up by the test
  }
  line.ended = true;
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 3_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error("it did not come about");
    await Bun.sleep(5);
  }
}

const enrol = async () => await ScriptedAgent.enrol(control.url, await mint(control));
const told = (line: Line) => line.text.split("event: beat").length - 1;

describe("a wake-up line", () => {
  test("says beat, without data, when a job is queued that the agent may get", async () => {
    const agent = await enrol();
    await agent.beat();
    const line = await listen(agent);
    const id = await submit(control);
    await until(() => told(line) === 1);
    expect(line.text.replaceAll(/^:\n\n/gm, "")).toBe("event: beat\ndata:\n\n");
    const { jobs } = await agent.beat();
    expect(jobs).toHaveLength(1);
    await agent.beat({ jobs: [{ jti: id as never, attempt: 1, state: "running" }] });
    line.close();
  });

  test("tells one agent for one job, and none that cannot take it", async () => {
    const [able, full, draining] = await Promise.all([enrol(), enrol(), enrol()]);
    await able.beat();
    await full.beat({ capacity: { max: 1, in_flight: 1 } });
    await draining.beat({ agent: { ...draining.beatRequest().agent, state: "draining" } });
    const lines = await Promise.all([able, full, draining].map(listen));
    await submit(control);
    await until(() => lines.some((line) => told(line) > 0));
    await Bun.sleep(100);
    expect(lines.map(told)).toEqual([1, 0, 0]);
    for (const line of lines) line.close();
    await able.beat();
  });

  test("there is one an agent: the older ends; beyond the limit there is none", async () => {
    await Bun.sleep(50); // for the lines of the test before to be gone
    const agents = await Promise.all([enrol(), enrol(), enrol(), enrol()]);
    const lines: Line[] = [];
    for (const agent of agents.slice(0, 3)) lines.push(await listen(agent));
    const [first] = agents;
    if (first === undefined) throw new Error("there is a first agent");
    lines.push(await listen(first));
    await until(() => lines[0]?.ended === true);
    const refused = await agents[3]?.send("GET", ROUTES.wake);
    expect([refused?.status, refused?.json.code]).toEqual([503, "WAKE_FULL"]);
    for (const line of lines) line.close();
  });

  test("tells an agent of an order, and all of them of another plan", async () => {
    await Bun.sleep(50);
    const agent = await enrol();
    await agent.beat();
    const line = await listen(agent);
    const order = { order: "drain", reason: "x" };
    await control.api("POST", API.agentOrders(agent.agentId), order);
    await until(() => told(line) === 1);
    await control.api("PUT", API.accountPlan, { max_agents: 20 });
    await until(() => told(line) === 2);
    line.close();
  });

  test("ends with the access token, and with the agent", async () => {
    await Bun.sleep(50);
    const agent = await enrol();
    await agent.beat();
    agent.aheadS = 599;
    control.shift(599_000);
    await agent.send("GET", "/healthz", { anonymous: true }); // for the nonce of this time
    const expiring = await listen(agent);
    await until(() => expiring.ended);
    control.shift(-599_000);
    agent.aheadS = 0;
    await agent.signIn();
    const line = await listen(agent);
    await control.api("POST", API.agentOrders(agent.agentId), { order: "terminate", reason: "x" });
    await until(() => told(line) === 1);
    agent.takeOrders((await agent.beat()).orders);
    await agent.beat();
    await until(() => line.ended);
  });

  test("ends when the server stops; a new one tells of what is still queued", async () => {
    await Bun.sleep(50);
    const agent = await enrol();
    await agent.beat();
    const line = await listen(agent);
    await control.restart();
    await until(() => line.ended);
    await submit(control);
    const again = await listen(agent);
    await until(() => told(again) > 0);
    again.close();
  });
});
