// npm test [-- path/to/tests ...]
// Host tools, types and lint, build, tests; the last line is always `N passed, N failed`.
// With paths only the tests under them run, and types and lint are left out.

import { availableParallelism } from "node:os";
import { build } from "./build.ts";
import { checkSources } from "./check.ts";
import { ensureHostTools, thisHost } from "./host-tools.ts";
import { hostTarget } from "./targets.ts";
import { readSummary, summaryLine, type TestSummary } from "./test-summary.ts";

const NOT_RUN: TestSummary = { passed: 0, failed: 1, skipped: 0 };

async function run(filters: readonly string[]): Promise<TestSummary> {
  ensureHostTools("test", thisHost());
  if (filters.length === 0 && !(await checkSources())) return NOT_RUN;
  await build({ targets: [hostTarget()], ifChanged: true, release: false });
  return await runBunTest(filters);
}

/** Shows what the tests say as they say it, and reads the count from it. */
async function runBunTest(filters: readonly string[]): Promise<TestSummary> {
  // A process per core: files do not see each other, and one that ends its process is counted as failed.
  const workers = `--parallel=${availableParallelism()}`;
  const child = Bun.spawn({
    cmd: [process.execPath, "test", workers, ...filters],
    stdin: "ignore",
    stdout: "inherit",
    stderr: "pipe",
    env: process.env,
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => child.kill(signal));
  const decoder = new TextDecoder();
  let output = "";
  for await (const chunk of child.stderr) {
    process.stderr.write(chunk);
    output += decoder.decode(chunk, { stream: true });
  }
  return readSummary(output, await child.exited);
}

const summary = await run(process.argv.slice(2)).catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  return NOT_RUN;
});
console.log(summaryLine(summary));
process.exitCode = summary.failed > 0 ? 1 : 0;
