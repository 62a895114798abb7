// How much memory of its own an idle agent holds, beside a compiled program that only waits.
// Bound: anonymous memory of the idle agent at most 25 MB.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stopChild } from "../../dist-scripts/world.ts";
import { idle, startFleet } from "../support/fleet.ts";

const BOUND_MB = 25;
const SETTLE_MS = 8_000;

/** Anonymous and whole resident memory of a process in MB (smaps_rollup, proc(5)). */
function memoryOf(pid: number): { anonymous: number; resident: number } {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const mb = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(rollup)?.[1] ?? 0) / 1024;
  return { anonymous: mb("Anonymous"), resident: mb("Rss") };
}

async function bareProgram(): Promise<{ anonymous: number; resident: number }> {
  const dir = mkdtempSync(join(tmpdir(), "agentina-bench-"));
  try {
    writeFileSync(join(dir, "wait.ts"), "setInterval(() => {}, 60_000);\n");
    const outfile = join(dir, "wait");
    await Bun.build({ entrypoints: [join(dir, "wait.ts")], minify: true, compile: { outfile } });
    const child = Bun.spawn({ cmd: [outfile], env: {} });
    await Bun.sleep(2_000);
    const memory = memoryOf(child.pid);
    child.kill();
    await child.exited;
    return memory;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const bare = await bareProgram();
const fleet = await startFleet("bench-memory");
try {
  await idle(fleet.world);
  await Bun.sleep(SETTLE_MS);
  const agent = memoryOf(fleet.agent.pid);
  const line = (name: string, memory: typeof agent) =>
    `${name.padEnd(24)} anonymous ${memory.anonymous.toFixed(1)} MB, resident ${memory.resident.toFixed(1)} MB`;
  console.log(line("compiled program, waits", bare));
  console.log(line("idle agent", agent));
  console.log(`anonymous, agent / bound  ${(agent.anonymous / BOUND_MB).toFixed(2)} (bound ${BOUND_MB} MB)`);
  process.exitCode = agent.anonymous <= BOUND_MB ? 0 : 1;
  await stopChild(fleet.agent);
} finally {
  await fleet.world.close();
}
