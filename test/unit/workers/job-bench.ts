import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { MessageChannel } from "node:worker_threads";
import * as v from "valibot";
import {
  type ExecutorTask,
  type JobReport,
  JobReportSchema,
  ProgressMessageSchema,
  type StopCause,
} from "../../../src/protocol/execution.ts";
import type { Grant } from "../../../src/protocol/receipt.ts";
import execute from "../../../workers/executor.ts";
import { BWRAP, tempDir } from "../sandbox/sandbox-bench.ts";

export const GIT = "/usr/bin/git";

const GIT_ENV = {
  PATH: "/usr/bin:/bin",
  HOME: "/nonexistent",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_AUTHOR_NAME: "T",
  GIT_AUTHOR_EMAIL: "t@example.invalid",
  GIT_COMMITTER_NAME: "T",
  GIT_COMMITTER_EMAIL: "t@example.invalid",
};

/** Runs git on the host and returns what it prints; throws when it fails. */
export function git(cwd: string, ...args: string[]): string {
  const done = Bun.spawnSync([GIT, ...args], { cwd, env: GIT_ENV });
  if (done.exitCode !== 0) throw new Error(`git ${args.join(" ")}: ${done.stderr}`);
  return done.stdout.toString().trim();
}

/** Makes a repository with one commit of `files`; names that end in .sh are executable. Returns the commit. */
export function makeRepository(path: string, files: Readonly<Record<string, string>>): string {
  mkdirSync(path, { recursive: true });
  git(path, "init", "--quiet", "--initial-branch=main");
  return commitFiles(path, files);
}

export function commitFiles(path: string, files: Readonly<Record<string, string>>): string {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), text, { mode: name.endsWith(".sh") ? 0o755 : 0o644 });
  }
  git(path, "add", "--all");
  git(path, "commit", "--quiet", "--allow-empty", "--message=work");
  return git(path, "rev-parse", "HEAD");
}

/** What a test changes about a job; everything else is the smallest job there is. */
export interface JobChange {
  readonly payload?: Readonly<Record<string, unknown>>;
  readonly read?: readonly string[];
  readonly write?: readonly string[];
  readonly limits?: Partial<Grant["limits"]>;
  readonly task?: Partial<ExecutorTask>;
  /** When and how to ask the job to stop. */
  readonly stop?: { readonly afterMs: number; readonly cause: StopCause; readonly graceMs: number };
}

export interface RanJob {
  readonly report: JobReport;
  readonly log: string;
  readonly steps: readonly string[];
  readonly ms: number;
  /** What is left in the attempt's directory. */
  readonly workDir: string;
}

const LIMITS: Grant["limits"] = {
  timeout_s: 20,
  memory_bytes: 268_435_456,
  pids: 64,
  output_bytes: 1_048_576,
  workspace_bytes: 67_108_864,
};

/** The task of one attempt below `dir`, as the agent would hand it over, without its port. */
export function taskOf(dir: string, change: JobChange): Omit<ExecutorTask, "port"> {
  const workDir = join(dir, "run");
  mkdirSync(workDir, { mode: 0o700 });
  const grant: Grant = {
    scope: {
      files: { read: [...(change.read ?? [])], write: ["./", ...(change.write ?? [])] },
      commands: "system",
      hosts: [],
      env: [],
    },
    limits: { ...LIMITS, ...change.limits },
    limits_enforced: "weak",
  };
  return {
    jti: "job_00000000000000000000",
    attempt: 1,
    kind: "test.run",
    payload: { source: { type: "empty" }, run: ["true"], ...change.payload },
    grant,
    blobs: [],
    secrets: {},
    workDir,
    logPath: join(dir, "log"),
    bwrapPath: BWRAP,
    gitPath: GIT,
    ...change.task,
  };
}

/** Runs a job on this thread and checks that its report is one. */
export async function runJob(change: JobChange): Promise<RanJob> {
  using dir = tempDir();
  const { port1, port2 } = new MessageChannel();
  const task = { ...taskOf(dir.path, change), port: port2 };
  const steps: string[] = [];
  port1.on("message", (message) => steps.push(v.parse(ProgressMessageSchema, message).step));
  const { stop } = change;
  const timer = stop
    ? setTimeout(
        () => port1.postMessage({ type: "stop", cause: stop.cause, grace_ms: stop.graceMs }),
        stop.afterMs,
      )
    : null;
  const start = performance.now();
  const report = v.parse(JobReportSchema, await execute(task));
  const ms = performance.now() - start;
  if (timer) clearTimeout(timer);
  await Bun.sleep(0); // the last progress message
  port1.close();
  const workDir = Array.from(new Bun.Glob("**").scanSync({ cwd: task.workDir, onlyFiles: false })).join(" ");
  return { report, log: readLog(task.logPath), steps, ms, workDir };
}

function readLog(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // no log was made
  }
}

/** A job that runs a script of the shell. */
export const shell = (script: string, change: JobChange = {}): Promise<RanJob> =>
  runJob({ ...change, payload: { run: ["sh", "-c", script], ...change.payload } });
