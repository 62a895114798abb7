import { writeFileSync } from "node:fs";
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
  type World,
} from "../../dist-scripts/world.ts";
import type { JobView } from "../../src/protocol/api.ts";

const DIST = join(import.meta.dir, "..", "..", "dist");

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

export const startAgent = (world: World, state = world.state): Child =>
  world.start("agent", [world.agentina, "run", ...agentFlags(world, state)]);

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
