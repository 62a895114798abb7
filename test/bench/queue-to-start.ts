// From a job being queued to its being started, on an idle agent that listens for wake-ups: compiled programs, loopback.
// The bound of the same run: two bare HTTP round trips to the same server, which is what the way cannot do without (the
// beat that fetches the job, the beat that gets its lease).
// Bounds: half of the jobs within 60 ms, 99 of 100 within 250 ms.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  activateAgent,
  type Child,
  controlJson,
  eventually,
  makeWorld,
  startControl,
  type World,
} from "../../dist-scripts/world.ts";
import { API, type JobView } from "../../src/protocol/api.ts";
import { DIST, idle, type Place, shellJob, startAgent } from "../support/fleet.ts";

const JOBS = 120;
/** Jobs go to whichever agent was told least lately, so each has its turn when its budget for beats is full again. */
const AGENTS = 5;
const PAUSE_MS = 1_800;
const P50_BOUND_MS = 60;
const P99_BOUND_MS = 250;

const percentile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.ceil(values.length * share) - 1] ?? Number.NaN;

async function startAgents(world: World, url: string): Promise<Child[]> {
  const agents: Child[] = [];
  await controlJson(world, ["account", "plan", "--max-agents", String(AGENTS)]);
  for (let n = 0; n < AGENTS; n++) {
    const place: Place =
      n === 0 ? world : { state: `${world.state}-${n}`, logs: join(world.logs, "..", `logs-${n}`) };
    await activateAgent(world, url, place.state);
    agents.push(startAgent(world, place));
    await idle({ ...world, ...place });
  }
  return agents;
}

/** Submits one job and answers how long it took from its queueing to its start, as both programs wrote it down. */
async function roundMs(url: string, key: string): Promise<number> {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const body = JSON.stringify(shellJob("true"));
  const { id } = (await (
    await fetch(new URL(API.jobs, url), { method: "POST", headers, body })
  ).json()) as JobView;
  return await eventually(30_000, `job ${id} to finish`, async () => {
    const job = (await (await fetch(new URL(API.job(id), url), { headers })).json()) as JobView;
    if (job.state !== "finished") return null;
    if (job.started_at === null) throw new Error(`job ${id} ended ${job.outcome} without a start`);
    return job.started_at - job.created_at;
  });
}

/** Two requests one after the other that ask nothing of the server. */
async function bareMs(url: string): Promise<number> {
  const began = performance.now();
  for (let trip = 0; trip < 2; trip++) await (await fetch(new URL("/healthz", url))).arrayBuffer();
  return performance.now() - began;
}

const world = makeWorld(DIST, "bench-start");
try {
  const { url } = await startControl(world);
  await startAgents(world, url);
  const key = readFileSync(join(world.controlData, "admin.key"), "utf8").trim();
  const bare: number[] = [];
  const started: number[] = [];
  await Bun.sleep(10_000); // budgets spent on the first beats fill up
  for (let job = 0; job < JOBS; job++) {
    await Bun.sleep(PAUSE_MS);
    bare.push(await bareMs(url));
    started.push(await roundMs(url, key));
  }
  const [p50, p99] = [percentile(started, 0.5), percentile(started, 0.99)];
  const floor = percentile(bare, 0.5);
  console.log(`two bare round trips        ${floor.toFixed(1)} ms (median of ${JOBS})`);
  console.log(
    `queued to started           p50 ${p50} ms, p99 ${p99} ms, worst ${Math.max(...started)} ms (${JOBS} jobs)`,
  );
  console.log(`p50 / two bare round trips  ${(p50 / floor).toFixed(1)}`);
  console.log(`p50 / bound                 ${(p50 / P50_BOUND_MS).toFixed(2)} (bound ${P50_BOUND_MS} ms)`);
  console.log(`p99 / bound                 ${(p99 / P99_BOUND_MS).toFixed(2)} (bound ${P99_BOUND_MS} ms)`);
  process.exitCode = p50 <= P50_BOUND_MS && p99 <= P99_BOUND_MS ? 0 : 1;
} finally {
  await world.close();
}
