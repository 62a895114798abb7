import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  activateAgent,
  agentFlags,
  type Child,
  type Control,
  controlJson,
  eventually,
  makeWorld,
  startControl,
  stopChild,
  type World,
} from "../../dist-scripts/world.ts";
import type { AgentView, AnomalySummary, AnomalyView, JobView } from "../../src/protocol/api.ts";

export const DIST = join(import.meta.dir, "..", "..", "dist");

/** Where one agent of a world keeps its state and its logs. */
export type Place = Pick<World, "state" | "logs">;

/** A Control Plane and one activated agent, both compiled, both real processes, in a world of their own. */
export interface Fleet {
  readonly world: World;
  control: Control;
  agent: Child;
  readonly agentId: string;
}

export async function startFleet(label: string, serveFlags: string[] = []): Promise<Fleet> {
  const world = makeWorld(DIST, label);
  const control = await startControl(world, "127.0.0.1:0", serveFlags);
  const { agent_id } = await activateAgent(world, control.url);
  return { world, control, agent: startAgent(world), agentId: agent_id };
}

export const startAgent = (world: World, place: Place = world): Child =>
  world.start("agent", [world.agentina, "run", ...agentFlags(world, place.state, place.logs)]);

export const repositoryDir = (world: World, name: string): string => join(world.dir, "repositories", name);

let jobFiles = 0;

/** Submits a job through the command line, as a person would. */
export async function submit(world: World, job: object, more: string[] = []): Promise<JobView> {
  const file = join(world.dir, `job-${++jobFiles}.json`);
  writeFileSync(file, JSON.stringify(job, null, 2), { mode: 0o644 });
  return await controlJson<JobView>(world, ["job", "submit", file, ...more]);
}

export const showJob = (world: World, id: string): Promise<JobView> =>
  controlJson<JobView>(world, ["job", "show", id]);

/** Waits until the job is finished and shows it. */
export const finished = (world: World, id: string, ms = 30_000): Promise<JobView> =>
  eventually(ms, `job ${id} to finish`, async () => {
    const job = await showJob(world, id);
    return job.state === "finished" ? job : null;
  });

/** A job without a source that runs one shell line. */
export const shellJob = (script: string, more: object = {}): object => ({
  kind: "test.run",
  payload: { source: { type: "empty" }, run: ["sh", "-c", script], report: { format: "exit" } },
  scope: { files: { read: [], write: ["./"] }, commands: "system", hosts: [], env: [] },
  limits: { timeout_s: 60 },
  ...more,
});

/** Waits until the agent has had a heartbeat accepted and says it is idle. */
export const idle = (world: World): Promise<true> =>
  eventually(20_000, "the agent to be idle", async () => {
    const log = Bun.file(join(world.logs, "agent.log"));
    return (await log.exists()) && (await log.text()).includes('"state":"idle"') ? true : null;
  });

const SIGUSR2_CAUGHT = 1n << 11n;

/** Tells the agent to beat now, as an operator would; waits until it listens, as the signal would end it before. */
export async function beatNow({ agent }: Pick<Fleet, "agent">): Promise<void> {
  await eventually(20_000, "the agent to take signals", async () => {
    if (agent.exitCode !== null || agent.signalCode !== null) return true;
    const status = readFileSync(`/proc/${agent.pid}/status`, "utf8");
    const caught = BigInt(`0x${/^SigCgt:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"}`);
    return (caught & SIGUSR2_CAUGHT) === 0n ? null : true;
  });
  agent.kill("SIGUSR2");
}

/** SIGKILL, and the agent again on the same state directory. */
export async function restartAgent(fleet: Fleet): Promise<void> {
  fleet.agent.kill("SIGKILL");
  await fleet.agent.exited;
  fleet.agent = startAgent(fleet.world);
}

/** The events of one name in the agent's log. */
export async function eventsOf(
  { logs }: Pick<World, "logs">,
  name: string,
): Promise<Record<string, unknown>[]> {
  const path = join(logs, "agent.log");
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "");
  return lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ event }) => event === name);
}

/** The fleet's agent as the Control Plane shows it. */
export async function agentView({ world, agentId }: Fleet): Promise<AgentView | undefined> {
  const { agents } = await controlJson<{ agents: AgentView[] }>(world, ["agent", "list"]);
  return agents.find(({ id }) => id === agentId);
}

/** What stands open in the Control Plane's list of things that should not happen. */
export async function anomalies(world: World): Promise<AnomalySummary[]> {
  const { anomalies: all } = await controlJson<{ anomalies: AnomalySummary[] }>(world, ["anomaly", "list"]);
  return all.filter(({ state }) => state === "open");
}

export const anomaly = (world: World, id: string): Promise<AnomalyView> =>
  controlJson<AnomalyView>(world, ["anomaly", "show", id]);

/** Waits until the agent has told the Control Plane that it is in this state, asking it to beat now and then. */
export const tells = (fleet: Fleet, state: string): Promise<true> =>
  eventually(30_000, `the agent to be ${state}`, async () => {
    await beatNow(fleet);
    await Bun.sleep(300);
    return (await agentView(fleet))?.state === state ? true : null;
  });

/** A copy of an agent's state directory, as a thief or a backup would have it, with logs of its own. */
export function copyState(world: World, name: string): Place {
  const place = { state: join(world.state, "..", name), logs: join(world.state, "..", `${name}-logs`) };
  const copied = Bun.spawnSync(["/bin/cp", "--archive", world.state, place.state]);
  if (copied.exitCode !== 0) throw new Error(copied.stderr.toString());
  mkdirSync(place.logs, { mode: 0o750 });
  world.give("agent", place.logs);
  return place;
}

/** A fleet whose jobs may leave a mark outside their workspace, so that their starts can be counted. */
export interface CountingFleet {
  readonly fleet: Fleet;
  readonly counter: string;
  readonly starts: () => number;
}

/** A job that counts its starts where it may write, and runs for `seconds`. */
export function countingJob(counter: string, seconds: number, more: object = {}): object {
  const job = shellJob(`echo started >> ${counter}/starts; sleep ${seconds}; echo done`, more) as {
    scope: object;
  };
  return { ...job, scope: { ...job.scope, files: { read: [], write: ["./", counter] } } };
}

export async function startCountingFleet(label: string): Promise<CountingFleet> {
  const fleet = await startFleet(label);
  const { world } = fleet;
  const counter = join(world.dir, "counter");
  mkdirSync(counter, { mode: 0o777 });
  chmodSync(counter, 0o777);
  const policy = readFileSync(world.policy, "utf8").replace("write = []", `write = ["${counter}"]`);
  writeFileSync(world.policy, policy);
  await stopChild(fleet.agent);
  fleet.agent = startAgent(world);
  const starts = () =>
    existsSync(join(counter, "starts"))
      ? readFileSync(join(counter, "starts"), "utf8").trim().split("\n").length
      : 0;
  return { fleet, counter, starts };
}
