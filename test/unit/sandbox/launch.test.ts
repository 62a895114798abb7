// Goal: nothing of a job runs before the gate is opened, and an agent that dies first never opens it.
// Method: launch by hand in a process of its own, kill that process at the gate, and look for what the command would do.

import { describe, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { processesWith, tempDir } from "./sandbox-bench.ts";

const HERE = import.meta.dir;

/** A program that launches `touch /work/<name>` in the view of a job and stays at the gate, or opens it. */
const program = (workspace: string, name: string, release: boolean): string => `
import { launch } from "${join(HERE, "../../../src/sandbox/launch.ts")}";
import { openOwnPath } from "${join(HERE, "../../../src/sandbox/scope-paths.ts")}";
import { viewArgs } from "${join(HERE, "../../../src/sandbox/view.ts")}";
import { view, BWRAP } from "${join(HERE, "sandbox-bench.ts")}";
const child = launch(BWRAP, viewArgs(view({ workspace: openOwnPath("${workspace}") })), ["touch", "/work/${name}"]);
for await (const _ of Bun.file(child.status).stream()) break;
await Bun.sleep(50);
${release ? "child.release(); await child.process.exited;" : ""}
console.log("there");
await Bun.sleep(60_000);
`;

async function killedAtTheGate(release: boolean): Promise<{ ran: boolean; left: number[] }> {
  using dir = tempDir();
  const name = `ran-${crypto.randomUUID()}`;
  const script = join(dir.path, "agent.ts");
  writeFileSync(script, program(dir.path, name, release));
  const agent = Bun.spawn([process.execPath, script], { env: {}, stdio: ["ignore", "pipe", "inherit"] });
  for await (const chunk of agent.stdout) if (new TextDecoder().decode(chunk).includes("there")) break;
  agent.kill("SIGKILL");
  await agent.exited;
  await Bun.sleep(200);
  const left = processesWith(name);
  for (const pid of left) process.kill(pid, "SIGKILL");
  return { ran: existsSync(join(dir.path, name)), left };
}

describe("the gate", () => {
  test("stays shut when the agent dies", async () => {
    expect(await killedAtTheGate(false)).toMatchObject({ ran: false });
  });

  test("lets the command through once opened", async () => {
    expect(await killedAtTheGate(true)).toEqual({ ran: true, left: [] });
  });
});
