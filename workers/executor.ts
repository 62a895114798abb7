import { join } from "node:path";
import { asFault, isFault, reasonOf } from "../src/fault/fault.ts";
import type { ExecutorTask, JobReport } from "../src/protocol/execution.ts";
import { isRunnableKind, PAYLOAD_SCHEMAS } from "../src/protocol/job.ts";
import { parseValue } from "../src/protocol/json.ts";
import { removeTree } from "../src/sandbox/remove-tree.ts";
import { LAYERS } from "../src/sandbox/view.ts";
import { JobStop } from "./job-stop.ts";
import {
  HOME_NAME,
  type JobContext,
  type KindReport,
  openPlace,
  WORKSPACE_NAME,
} from "./kinds/job-context.ts";
import { runTests } from "./kinds/test-run.ts";
import { Scrubber } from "./scrub/scrubber.ts";
import { emptyLog, JobLog } from "./steps/job-log.ts";
import { StepRunner } from "./steps/run-command.ts";

/**
 * The piscina entry: runs one verified and decided job to its end and says what happened. Never throws across the
 * thread, leaves no process, and, unless it was stopped, removes what it made in `workDir`. Closes `task.port` when done.
 */
// biome-ignore lint/style/noDefaultExport: piscina calls a worker module's default export
export default async function execute(task: ExecutorTask): Promise<JobReport> {
  const { port, grant, logPath, bwrapPath } = task;
  using stop = new JobStop(port, grant.limits.timeout_s);
  const scrubber = new Scrubber(task.secrets);
  let log: JobLog | null = null;
  try {
    log = new JobLog(logPath, grant.limits.output_bytes, scrubber);
    const steps = new StepRunner({ bwrapPath, limits: grant.limits, log, stop, port, scrubber });
    const report = await runKind(task, { log, stop, steps, scrubber });
    const { usage, survivors } = steps;
    const started = steps.steps.length > 0;
    return finish(report, { stop, scrubber, usage, survivors, started, log: log.close() });
  } catch (error) {
    return finish(brokenReport(error), { stop, scrubber, log: log?.close() ?? emptyLog() });
  } finally {
    // A stopped job's answer is waited for; the agent removes the tree after it.
    if (stop.cause === null) await removeOwn(task.workDir);
    port.close();
  }
}

async function runKind(task: ExecutorTask, parts: Omit<JobContext, "task" | "place">): Promise<KindReport> {
  try {
    const { kind } = task;
    if (!isRunnableKind(kind)) return inputUnavailable(`this version does not know the kind "${kind}"`);
    const payload = parseValue(task.payload, PAYLOAD_SCHEMAS[kind]);
    if (!payload.ok) return inputUnavailable(`payload.${payload.path}: ${payload.why}`);
    using place = await openPlace(task);
    switch (kind) {
      case "test.run":
        return await runTests(payload.value, { ...parts, task, place });
    }
  } catch (error) {
    if (!isFault(error)) throw error;
    return faultReport(error.code === "WORK_DIR_UNUSABLE", asFault(error).message);
  }
}

const inputUnavailable = (detail: string): KindReport => faultReport(false, detail);

/** What a job needs and the host does not have: a path of its scope, its source, git, room to work. */
const faultReport = (ours: boolean, detail: string): KindReport => ({
  end: "failed",
  reason: ours ? "workspace_unusable" : "input_unavailable",
  detail,
  result: null,
});

/** Our own bug, or a log that cannot be made. */
function brokenReport(error: unknown): KindReport {
  const system = error instanceof Error && "syscall" in error;
  return {
    end: "failed",
    reason: system ? "workspace_unusable" : "worker_died",
    detail: reasonOf(error),
    result: null,
  };
}

interface Ending {
  readonly stop: JobStop;
  readonly scrubber: Scrubber;
  readonly log: JobReport["log"];
  readonly usage?: JobReport["usage"];
  readonly survivors?: number | null;
  readonly started?: boolean;
}

function finish(report: KindReport, ending: Ending): JobReport {
  const { stop, scrubber, log, usage = null, survivors = null, started = false } = ending;
  const detail = scrubber.text(report.detail ?? "").slice(0, 2048);
  return {
    ...report,
    detail: detail === "" ? null : detail,
    stop_cause: stop.cause,
    usage,
    layers: started ? [...LAYERS] : [],
    survivors,
    log,
  };
}

async function removeOwn(workDir: string): Promise<void> {
  for (const name of [WORKSPACE_NAME, HOME_NAME]) {
    try {
      await removeTree(join(workDir, name));
    } catch {
      // the agent removes the whole attempt directory after us, and says so when it cannot
    }
  }
}
