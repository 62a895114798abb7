// npm run simulate -- [--seeds N] [--from K] [--seed X] [--trace] [--json] [--give-up-after N]

import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { scratchDirectory } from "../support/scratch.ts";
import { isCrash } from "./crash.ts";
import { failureText, type Summary, summaryText } from "./report.ts";
import { runSeed, type SeedResult } from "./run-seed.ts";
import { Tally } from "./tally.ts";
import { makeTemplate } from "./template.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "200" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    trace: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    "give-up-after": { type: "string", default: "5" },
  },
});

/** Rejections nobody waited for. Those of processes that died are what dying is. */
const strays: unknown[] = [];
process.on("unhandledRejection", (error) => {
  if (!isCrash(error)) strays.push(error);
});

const root = scratchDirectory("simulation");
process.on("exit", () => rmSync(root, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));

process.exitCode = await main();

async function main(): Promise<number> {
  const template = mkdtempSync(join(root, "template-"));
  await makeTemplate(template);
  const from = Number(values.seed ?? values.from);
  const seeds = values.seed === undefined ? Number(values.seeds) : 1;
  const giveUpAfter = Number(values["give-up-after"]);
  const tally = new Tally();
  const failed: string[] = [];
  const digests: string[] = [];
  let virtualMs = 0;
  for (let seed = from; seed < from + seeds && failed.length < giveUpAfter; seed++) {
    const result = await oneSeed(seed, template);
    virtualMs += result.virtualMs;
    tally.add(result.counts);
    digests.push(result.digest);
    if (values.trace) console.log(result.tail.join("\n"));
    if (result.violations.length === 0) continue;
    failed.push(failureText(values.trace ? { ...result, tail: [] } : result));
    if (!values.json) console.log(failed.at(-1));
  }
  const summary: Summary = {
    seeds: digests.length,
    failed,
    counts: tally.counts,
    virtualHours: Math.round(virtualMs / 3_600_000),
    digests,
  };
  console.log(values.json ? JSON.stringify(summary) : summaryText(summary));
  return failed.length === 0 ? 0 : 1;
}

async function oneSeed(seed: number, template: string): Promise<SeedResult> {
  const result = await runSeed(seed, { template, root }, values.trace);
  const lost = strays.splice(0).map((error) => `left unhandled: ${textOf(error)}`);
  return { ...result, violations: [...result.violations, ...lost] };
}

const textOf = (error: unknown) => (error instanceof Error ? (error.stack ?? error.message) : String(error));
