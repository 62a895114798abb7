import { mkdtempSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runInSandbox, type SandboxEnd, type SandboxRun } from "../../../src/sandbox/run.ts";
import { readSystemRoots } from "../../../src/sandbox/system-roots.ts";
import type { ViewSpec } from "../../../src/sandbox/view.ts";

export const BWRAP = "/usr/bin/bwrap";

/** A private directory of a test, by its real name; disposing removes it. */
export function tempDir(): Disposable & { readonly path: string } {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "agentina-test-")));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export const view = (change: Partial<ViewSpec> = {}): ViewSpec => ({
  systemRoots: readSystemRoots(),
  workspace: null,
  home: null,
  binds: [],
  files: [],
  env: {},
  scratchBytes: 16 * 1_048_576,
  ...change,
});

export type Ran = SandboxEnd & { readonly stdout: string; readonly stderr: string; readonly both: string };

/** Runs `argv` in a sandbox and collects its output. */
export async function run(argv: readonly string[], change: Partial<SandboxRun> = {}): Promise<Ran> {
  const text = { stdout: "", stderr: "" };
  let both = "";
  const quiet = new AbortController().signal;
  const end = await runInSandbox({
    bwrapPath: BWRAP,
    view: view(),
    argv,
    fileBytesMax: 64 * 1_048_576,
    stop: { term: quiet, kill: quiet },
    onOutput: (stream, chunk) => {
      const part = new TextDecoder().decode(chunk);
      text[stream] += part;
      both += part;
      return true;
    },
    ...change,
  });
  return { ...end, ...text, both };
}

export const sh = (script: string, change: Partial<SandboxRun> = {}): Promise<Ran> =>
  run(["sh", "-c", script], change);

/** Host processes whose command line holds `mark`. */
export function processesWith(mark: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(mark) && !isZombie(pid);
      } catch {
        return false; // ended while we looked
      }
    });
}

function isZombie(pid: number): boolean {
  return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
}

/** How many descriptors this process has open, by kind of thing. */
export const openDescriptors = (): number =>
  readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) !== "";
    } catch {
      return false; // the one the listing itself used
    }
  }).length;
