// How long `agentina version` takes from start to end, beside a compiled program that only says hello.
// Bound: median of dist/agentina at most 1.6 times that of the hello world, taken in turns in the same run.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT } from "../support/source-files.ts";

const BOUND = 1.6;
const ROUNDS = 60;
const ENV = { PATH: "/usr/bin:/bin" };

async function helloWorld(directory: string): Promise<string> {
  const source = join(directory, "hello.ts");
  const outfile = join(directory, "hello");
  writeFileSync(source, 'console.log("hello");\n');
  const child = Bun.spawn({
    cmd: [process.execPath, "build", "--compile", source, "--outfile", outfile],
    env: { ...ENV, HOME: directory },
    stdout: "ignore",
    stderr: "ignore",
  });
  if ((await child.exited) !== 0) throw new Error("Cannot compile the hello world");
  return outfile;
}

function startMs(argv: readonly string[]): number {
  const began = Bun.nanoseconds();
  const child = Bun.spawnSync({ cmd: [...argv], env: ENV, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const ms = (Bun.nanoseconds() - began) / 1e6;
  if (child.exitCode !== 0) throw new Error(child.stderr.toString());
  return ms;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

const directory = mkdtempSync(join(tmpdir(), "agentina-bench-"));
try {
  const programs = {
    "hello world": [await helloWorld(directory)],
    "agentina version": [join(ROOT, "dist", "agentina"), "version"],
    "agentina version --json": [join(ROOT, "dist", "agentina"), "version", "--json"],
    "agentina --help": [join(ROOT, "dist", "agentina"), "--help"],
  };
  const names = Object.keys(programs) as (keyof typeof programs)[];
  const times = new Map(names.map((name) => [name, [] as number[]]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of names) times.get(name)?.push(startMs(programs[name]));
  }
  const hello = median(times.get("hello world") ?? []);
  for (const name of names) {
    const ms = median(times.get(name) ?? []);
    console.log(`${name.padEnd(24)} ${ms.toFixed(2)} ms, ${(ms / hello).toFixed(2)} x`);
  }
  const ratio = median(times.get("agentina version") ?? []) / hello;
  console.log(`ratio ${ratio.toFixed(2)} (bound ${BOUND})`);
  process.exitCode = ratio <= BOUND ? 0 : 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
