import { closeSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { fault, reasonOf } from "../../src/fault/fault.ts";
import type { ExecutorTask, JobReport } from "../../src/protocol/execution.ts";
import { type OpenPaths, openOwnPath, openScopePaths } from "../../src/sandbox/scope-paths.ts";
import { readSystemRoots } from "../../src/sandbox/system-roots.ts";
import { scratchBytes, type ViewSpec } from "../../src/sandbox/view.ts";
import type { JobStop } from "../job-stop.ts";
import type { Scrubber } from "../scrub/scrubber.ts";
import type { JobLog } from "../steps/job-log.ts";
import type { StepRunner } from "../steps/run-command.ts";

/** What a kind works with. */
export interface JobContext {
  readonly task: ExecutorTask;
  readonly log: JobLog;
  readonly stop: JobStop;
  readonly steps: StepRunner;
  /** Knows the job's secrets; everything the job says goes through it before it is cut, stored or told. */
  readonly scrubber: Scrubber;
  readonly place: JobPlace;
}

/** What a kind says of its run; the executor adds the rest of the report. */
export type KindReport = Pick<JobReport, "end" | "reason" | "detail" | "result">;

/** The directories of one attempt and the host paths it was given, held open by descriptor while it runs. */
export interface JobPlace extends Disposable {
  readonly workspace: number;
  /** The whole job's view for a step that starts the job's own programs. */
  jobView(env: Readonly<Record<string, string>>): ViewSpec;
  /** A view with the workspace and nothing else of the job's. */
  bareView(parts: Pick<ViewSpec, "home" | "binds" | "files" | "env">): ViewSpec;
}

/** Names inside the attempt's private directory. */
export const WORKSPACE_NAME = "workspace";
export const HOME_NAME = "home";

/**
 * Makes the attempt's directories and opens what its scope names. The home directory is shared by the job's steps, so
 * that what a set-up step installs there is still there for the test. Throws WORK_DIR_UNUSABLE or SCOPE_PATH_MISSING.
 */
export async function openPlace(task: ExecutorTask): Promise<JobPlace> {
  using stack = new DisposableStack();
  const paths: OpenPaths = stack.use(await openScopePaths(task.grant.scope.files));
  const directory = (name: string): number => {
    const fd = makeDirectory(join(task.workDir, name));
    stack.defer(() => closeSync(fd));
    return fd;
  };
  const workspace = directory(WORKSPACE_NAME);
  const home = directory(HOME_NAME);
  const frame = { systemRoots: readSystemRoots(), workspace, scratchBytes: scratchBytes(task.grant.limits) };
  const owned = stack.move();
  return {
    workspace,
    jobView: (env) => ({ ...frame, home, binds: paths.binds, files: [], env }),
    bareView: (parts) => ({ ...frame, ...parts }),
    [Symbol.dispose]: () => owned.dispose(),
  };
}

function makeDirectory(path: string): number {
  try {
    mkdirSync(path, { mode: 0o700 });
    return openOwnPath(path);
  } catch (error) {
    throw fault("WORK_DIR_UNUSABLE", { path, why: reasonOf(error) }, error);
  }
}
