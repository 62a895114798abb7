// Runs a fresh binary where nobody wishes it well: an empty directory laid with traps, poisoned variables,
// and no source tree. A binary that only works on the machine that built it does not leave the build.

import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { type CommandResult, capture } from "./command.ts";

/** Exit status of a program that refuses to start in a poisoned environment (sysexits EX_CONFIG). */
const EXIT_CONFIG = 78;

interface Trial {
  readonly what: string;
  /** Beside these a trial's environment holds only PATH and HOME. */
  readonly env: Record<string, string>;
  /** What is as good as the right answer: nothing, our own refusal, or any end that springs no trap. */
  readonly alsoGood: "nothing" | "refusal" | "any-end";
}

const TRIALS: readonly Trial[] = [
  { what: "with .env and bunfig.toml in its directory", env: {}, alsoGood: "nothing" },
  {
    what: "with a poisoned NODE_OPTIONS",
    env: { NODE_OPTIONS: "--require ./trap.cjs" },
    alsoGood: "refusal",
  },
  { what: "with BUN_OPTIONS", env: { BUN_OPTIONS: "--smol" }, alsoGood: "refusal" },
  // The runtime itself ends when told to load code from disk, before a line of ours could refuse.
  { what: "with a poisoned BUN_OPTIONS", env: { BUN_OPTIONS: "--preload ./trap.cjs" }, alsoGood: "any-end" },
  { what: "with a poisoned BUN_OPTIONS", env: { BUN_OPTIONS: "--preload ./trap.mjs" }, alsoGood: "any-end" },
];

const TRAPS = {
  "trap.cjs": 'require("node:fs").writeFileSync("canary", "sprung");\n',
  "trap.mjs": 'import { writeFileSync } from "node:fs";\nwriteFileSync("canary", "sprung");\n',
  "bunfig.toml": 'preload = ["./trap.mjs"]\n',
  ".env": "BUN_OPTIONS=--preload ./trap.mjs\nNODE_OPTIONS=--require ./trap.cjs\n",
};

/**
 * Fails unless `binary` answers `version --json` with `version` in every trial and springs no trap.
 * `hidden` is the directory it must do without; masking it needs bubblewrap.
 */
export async function smokeTest(binary: string, version: string, hidden: string): Promise<void> {
  for (const trial of TRIALS) {
    const place = await mkdtemp(join(tmpdir(), "agentina-smoke-"));
    try {
      const complaint = await tryBinary(binary, version, hidden, trial, place);
      if (complaint !== undefined) {
        throw new Error(`Cannot accept ${basename(binary)} ${trial.what}: ${complaint}`);
      }
    } finally {
      await rm(place, { recursive: true, force: true });
    }
  }
}

/** What is wrong with the binary in this trial, or nothing. */
async function tryBinary(
  binary: string,
  version: string,
  hidden: string,
  trial: Trial,
  place: string,
): Promise<string | undefined> {
  const directory = join(place, "hostile");
  await layTraps(directory);
  const argv = [...(await withoutSources(binary, hidden, place, directory)), "version", "--json"];
  const env = { PATH: "/usr/bin:/bin", HOME: "/nonexistent", ...trial.env };
  const result = capture(argv, { cwd: directory, env });
  if (await Bun.file(join(directory, "canary")).exists()) return "it ran code from the current directory";
  if (trial.alsoGood === "any-end") return undefined;
  if (trial.alsoGood === "refusal" && result.status === EXIT_CONFIG) return undefined;
  if (result.status !== 0) return `it ended with status ${result.status}\n${lastWords(result)}`;
  const told = versionIn(result.stdout);
  return told === version ? undefined : `it calls itself version "${told}", not "${version}"`;
}

async function layTraps(directory: string): Promise<void> {
  await mkdir(directory);
  for (const [name, text] of Object.entries(TRAPS)) await writeFile(join(directory, name), text);
}

/** The argv that starts `binary` with the source tree out of its sight. */
async function withoutSources(binary: string, hidden: string, place: string, directory: string) {
  const copy = join(place, basename(binary));
  const bwrap = usableBubblewrap();
  if (bwrap === undefined) {
    await copyFile(binary, copy);
    return [copy];
  }
  await writeFile(copy, "");
  const view = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--bind", place, place];
  const mask = ["--ro-bind", binary, copy, "--tmpfs", hidden, "--chdir", directory];
  return [bwrap, ...view, ...mask, "--unshare-net", "--die-with-parent", "--", copy];
}

/** Installed is not enough: a container may forbid the namespaces it needs. */
function usableBubblewrap(): string | undefined {
  const bwrap = Bun.which("bwrap");
  if (bwrap === null) return undefined;
  return capture([bwrap, "--ro-bind", "/", "/", "--unshare-net", "/bin/true"]).status === 0
    ? bwrap
    : undefined;
}

function versionIn(stdout: string): unknown {
  try {
    return JSON.parse(stdout).version;
  } catch (error) {
    return error instanceof SyntaxError ? stdout.trim() : String(error);
  }
}

function lastWords({ stdout, stderr }: CommandResult): string {
  return `${stdout}${stderr}`.trim().slice(-2000);
}
