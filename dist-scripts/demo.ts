// npm start: one signed job through the compiled programs, from a fresh Control Plane to its receipt.
// `--keep` leaves everything running and prints where to look.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type ExampleRepository, exampleJob, makeExampleRepository } from "./example-repository.ts";
import {
  activateAgent,
  agentFlags,
  type Child,
  type Control,
  controlJson,
  linesOf,
  makeWorld,
  startControl,
  stopChild,
  type World,
} from "./world.ts";

const DIST = join(import.meta.dir, "..", "dist");
const out = (text: string) => void process.stdout.write(text);
const heading = (text: string) => out(`\n── ${text}\n`);

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { keep: { type: "boolean", default: false } } });
  const world = makeWorld(DIST, "demo");
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort());
  try {
    return await show(world, values.keep, stop.signal);
  } finally {
    await world.close();
  }
}

async function show(world: World, keep: boolean, stop: AbortSignal): Promise<number> {
  heading("A Control Plane on this machine");
  const control = await startControl(world);
  out(`   listening on ${control.url}, data in ${world.controlData}\n`);

  heading("An agent, activated with a one-time token");
  const { agent_id } = await activateAgent(world, control.url);
  out(`   ${agent_id}, state in ${world.state}\n`);
  const agent = world.start("agent", [world.agentina, "run", ...agentFlags(world)]);
  const told = tellAgent(agent);

  heading("A real git repository with four tests, one of them wrong");
  const repository = makeExampleRepository(join(world.dir, "repositories", "slug"));
  out(`   ${repository.url} at ${repository.commit.slice(0, 12)}\n`);

  heading("A signed test.run job");
  const status = await runJob(world, repository);
  heading("The agent afterwards");
  await passOn(world, "agent", [world.agentina, "status", ...agentFlags(world)]);

  if (keep) await keepRunning(world, control, stop);
  heading("Stopping");
  await stopAll(agent, control);
  await told;
  out("   agent and Control Plane have stopped, their directories are gone\n");
  return status;
}

async function runJob(world: World, repository: ExampleRepository): Promise<number> {
  const file = join(world.dir, "job.json");
  writeFileSync(file, `${JSON.stringify(exampleJob(repository), null, 2)}\n`, { mode: 0o644 });
  const { id } = await controlJson<{ id: string }>(world, ["job", "submit", file]);
  out(`   ${id} submitted; following it\n\n`);
  const watch = [world.agentinaControl, "job", "watch", id, "--data-dir", world.controlData];
  const watched = await passOn(world, "control", watch);
  const { outcome, receipt } = await controlJson<{ outcome: string; receipt: { verified: boolean } | null }>(
    world,
    ["job", "show", id],
  );
  // One test is wrong on purpose: the honest outcome of this job is "failed", and the watch says so with status 1.
  const asExpected = outcome === "failed" && watched === 1 && receipt?.verified === true;
  out(
    asExpected
      ? "\n   As it should: three tests pass, the wrong one fails, and the receipt verifies.\n"
      : "\n   NOT as it should be.\n",
  );
  return asExpected ? 0 : 1;
}

/** What the agent says on its console, indented under what is going on. */
async function tellAgent(agent: Child): Promise<void> {
  const errors = new Response(agent.stderr).text();
  for await (const line of linesOf(agent.stdout)) out(`   agent │ ${line}\n`);
  const said = await errors;
  if (said !== "") out(`   agent │ ${said}`);
}

async function passOn(world: World, who: "agent" | "control", argv: string[]): Promise<number> {
  const child = world.start(who, argv, { NO_COLOR: "1" });
  const errors = new Response(child.stderr).text();
  for await (const line of linesOf(child.stdout)) out(`   ${line}\n`);
  const said = await errors;
  if (said !== "") out(`   ${said}\n`);
  return await child.exited;
}

async function keepRunning(world: World, control: Control, stop: AbortSignal): Promise<void> {
  heading("Kept running; press Ctrl-C to stop");
  const as = world.as("control", [world.agentinaControl]).join(" ");
  out(`   Control Plane  ${control.url}\n`);
  out(
    `   submit         ${as} job submit ${join(world.dir, "job.json")} --watch --data-dir ${world.controlData}\n`,
  );
  out(`   agents         ${as} agent list --data-dir ${world.controlData}\n`);
  out(`   agent's log    ${join(world.logs, "agent.log")}\n`);
  await new Promise<void>((resolve) => {
    if (stop.aborted) resolve();
    stop.addEventListener("abort", () => resolve(), { once: true });
  });
}

async function stopAll(agent: Child, control: Control): Promise<void> {
  await stopChild(agent);
  await stopChild(control.child);
}

process.exitCode = await main();
