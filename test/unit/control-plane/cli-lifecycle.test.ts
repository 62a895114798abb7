// Goal: an admin at a terminal can stop, look at, tell apart and recover agents; programs get the same as JSON, mistakes
// get an exit status and a remedy.
// Method: the program run in this process against a real server with scripted agents.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { CONTROL } from "../../../src/control-plane/cli/control.ts";
import {
  type AgentDetail,
  type AnomalySummary,
  type AnomalyView,
  API,
  type JobView,
} from "../../../src/protocol/api.ts";
import { runProgram } from "../../../src/terminal/run-program.ts";
import { mint, startTestControlPlane, submit, type TestControlPlane } from "./support/control-plane.ts";
import { FINGERPRINT, ScriptedAgent } from "./support/scripted-agent.ts";

let control: TestControlPlane;
beforeAll(async () => {
  control = await startTestControlPlane();
});
afterAll(async () => {
  await control.close();
});

interface Ran {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

async function asked(...words: string[]): Promise<Ran> {
  let out = "";
  let err = "";
  const keep = (text: string) => {
    out += text;
  };
  const exit = await runProgram(CONTROL, {
    argv: [...words, "--data-dir", control.running().paths.root],
    env: {},
    execArgv: [],
    compiled: false,
    terminal: {
      out: keep,
      say: async (text) => keep(text),
      err: (text) => {
        err += text;
      },
      colour: { out: false, err: false },
    },
  });
  return { exit, out, err };
}
const json = async <T>(...words: string[]): Promise<T> =>
  JSON.parse((await asked(...words, "--json")).out) as T;

const enrol = async () => {
  const agent = await ScriptedAgent.enrol(control.url, await mint(control));
  await agent.beat();
  return agent;
};

describe("agent", () => {
  test("drain, stop, resume and terminate tell the agent, and list says what it has not taken", async () => {
    const agent = await enrol();
    const drained = await asked("agent", "drain", agent.agentId, "--reason", "new disk");
    expect([drained.exit, drained.out.includes("new disk")]).toEqual([0, true]);
    expect((await asked("agent", "list")).out).toMatch(/TO BE TOLD\n.* drain\n/);
    const stopped = await json<AgentDetail>("agent", "stop", agent.agentId, "--reason", "x", "--grace", "5m");
    expect(stopped.agent.open_orders).toMatchObject([{ type: "stop", about: "300 s" }]);
    await asked("agent", "resume", agent.agentId, "--reason", "x");
    expect(agent.takeOrders((await agent.beat()).orders)).toMatchObject([{ order: { type: "resume" } }]);
    await agent.beat();
    await asked("agent", "terminate", agent.agentId, "--reason", "host is gone");
    agent.takeOrders((await agent.beat()).orders);
    await agent.beat();
    expect((await asked("agent", "list")).out).toMatch(/ ended +none/);
    const shown = await asked("agent", "show", agent.agentId);
    expect(shown.out).toContain("ended (host is gone)");
    expect(shown.out).toMatch(/1\.3 +resume +taken/);
    const late = await asked("agent", "drain", agent.agentId, "--reason", "x");
    expect([late.exit, late.err.includes("AGENT_ENDED")]).toEqual([77, true]);
  });

  test.each([
    [["agent", "drain", "x", "--reason", "y"], "an agent's id"],
    [["agent", "drain", "agt_0123456789abcdefghij"], "--reason"],
    [["agent", "stop", "agt_0123456789abcdefghij", "--reason", "y", "--grace", "2d"], "--grace"],
    [["anomaly", "show", "x"], "an anomaly's id"],
    [["anomaly", "recover", "ano_0123456789abcdefghij", "--reason", "y", "--inst", "x"], "--inst"],
    [["job", "cancel", "x"], "a job's id"],
  ] as const)("%p is a mistake that is explained", async (words, told) => {
    const { exit, err } = await asked(...words);
    expect([exit, err.includes(told)]).toEqual([64, true]);
  });
});

test("job cancel ends a queued job and shows why", async () => {
  const id = await submit(control);
  const { exit, out } = await asked("job", "cancel", id, "--reason", "wrong branch");
  expect(exit).toBe(0);
  expect(out).toStartWith("CANCELLED");
  expect(out).toContain("wrong branch");
  expect((await json<JobView>("job", "show", id)).cancel_reason).toBe("wrong branch");
});

describe("anomaly", () => {
  /** An agent whose copy, elsewhere and on another machine, has been caught, both heard since. */
  async function caught() {
    const agent = await enrol();
    const copy = agent.clone();
    copy.aheadS = 1;
    copy.fingerprint = { ...FINGERPRINT, components: { machine_id: "o".repeat(22) } };
    const host = { ...copy.beatRequest().host, hostname: "evil\u001b[2Jhost".replace("\u001b", "") };
    await copy.held({ host });
    await agent.held();
    const { anomalies } = await json<{ anomalies: AnomalySummary[] }>("anomaly", "list");
    const found = anomalies.find(({ agent_id }) => agent_id === (agent.agentId as never));
    if (found === undefined) throw new Error("it was caught");
    return { agent, copy, id: found.id };
  }

  test("shows both processes side by side, what differs marked", async () => {
    const { agent, copy, id } = await caught();
    const { out } = await asked("anomaly", "show", id);
    const [names = "", ...lines] = out.slice(out.indexOf("PROCESS")).split("\n");
    const row = (name: string) => lines.find((line) => line.includes(` ${name} `)) ?? "";
    expect(out).toStartWith("FINGERPRINT MISMATCH");
    expect(names).toMatch(new RegExp(`${agent.inst} +${copy.inst}$`));
    expect(row("host")).toMatch(/^≠ +host +host-a +evil\[2Jhost$/);
    expect(row("machine")).toMatch(/^≠ +machine +match, 100 % +mismatch, 0 %$/);
    expect(row("boot")).toMatch(/^ +boot +boot-1 +boot-1$/);
    expect(out).toContain(`anomaly recover ${id} --inst PROCESS`);
  });

  test("recover asks which one when there are two, refuses another machine, and takes the one named", async () => {
    const { agent, copy, id } = await caught();
    const words = ["anomaly", "recover", id, "--reason", "copy removed"];
    const unclear = await asked(...words);
    expect([unclear.exit, unclear.err.includes("ANOMALY_INSTANCE_UNCLEAR")]).toEqual([65, true]);
    const differs = await asked(...words, "--inst", copy.inst);
    expect([differs.exit, differs.err.includes("ANOMALY_MACHINE_DIFFERS")]).toEqual([65, true]);
    const done = await asked(...words, "--inst", agent.inst);
    expect([done.exit, done.out.includes(`Process ${agent.inst} on "host-a"`)]).toEqual([0, true]);
    const view = await json<AnomalyView>("anomaly", "show", id);
    expect(view.instances.filter(({ picked }) => picked).map(({ inst }) => inst)).toEqual([agent.inst]);
    const rebound = await asked("anomaly", "rebind", id, "--reason", "moved", "--inst", copy.inst);
    expect(rebound.out).toContain("still quarantined");
  });

  test("resolve closes an alarm, with who and why", async () => {
    const agent = await enrol();
    await agent.beat({ integrity: [{ code: "SEAL_MODIFIED", name: "license.jwt" }] });
    const { anomalies } = await json<{ anomalies: AnomalySummary[] }>("anomaly", "list");
    const [found] = anomalies.filter(({ kind }) => kind === "tampered");
    const id = found?.id ?? "";
    expect((await asked("anomaly", "reseal", id, "--reason", "it was me")).exit).toBe(0);
    expect((await asked("anomaly", "resolve", id, "--reason", "known")).exit).toBe(0);
    const resolved = await asked("anomaly", "list", "--state", "resolved");
    expect(resolved.out).toContain(id);
    expect((await asked("anomaly", "show", id)).out).toContain("by operator: known");
    expect((await asked("anomaly", "recover", id, "--reason", "x")).err).toContain("ANOMALY_RESOLVED");
    await control.api("GET", API.anomaly(id));
  });
});
