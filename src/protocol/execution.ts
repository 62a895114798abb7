import * as v from "valibot";
import { Sha256Schema } from "./ids.ts";
import type { BlobNameSchema } from "./job.ts";
import { REASONS, TestRunResultSchema } from "./outcome.ts";
import type { Grant } from "./receipt.ts";
import { CountSchema, EpochMillisSchema, lineSchema } from "./scalars.ts";

/** Why a running job is asked to end before its time. One signal, one cause; the first one wins. */
export const STOP_CAUSES = [
  "deadline",
  "order_cancel",
  "order_stop",
  "order_terminal",
  "quarantined",
  "host_stopping",
  "lease_expired",
] as const;
export const StopCauseSchema = v.picklist(STOP_CAUSES);
export type StopCause = v.InferOutput<typeof StopCauseSchema>;

/**
 * What the agent hands a worker thread: one verified job, already decided. Paths are absolute. `workDir` is the
 * attempt's own private directory (exists, 0700, empty); the worker removes nothing outside it.
 */
export interface ExecutorTask {
  readonly jti: string;
  readonly attempt: number;
  readonly kind: string;
  /** Opened again by the kind's schema on the thread that uses it. */
  readonly payload: unknown;
  readonly grant: Grant;
  readonly blobs: readonly { readonly name: v.InferOutput<typeof BlobNameSchema>; readonly path: string }[];
  /** The job's secrets by name, open. In memory only: a step gets those its payload names, the log none. */
  readonly secrets: Readonly<Record<string, string>>;
  readonly workDir: string;
  /** Log file to create; the agent tails it while the job runs. */
  readonly logPath: string;
  readonly bwrapPath: string;
  /** `null` on a host without git: a job with a git or bundle source then ends input_unavailable. */
  readonly gitPath: string | null;
  /** Carries `StopMessage` in and `ProgressMessage` out. */
  readonly port: import("node:worker_threads").MessagePort;
}

/** Agent → worker: end the job; SIGTERM now, SIGKILL after `grace_ms`. */
export interface StopMessage {
  readonly type: "stop";
  readonly cause: StopCause;
  readonly grace_ms: number;
}

/** Worker → agent: the job entered a step. */
export const ProgressMessageSchema = v.strictObject({
  type: v.literal("step"),
  step: lineSchema(64),
  at: EpochMillisSchema,
});
export type ProgressMessage = v.InferOutput<typeof ProgressMessageSchema>;

/** Worker → agent, once: what happened. The agent makes the outcome of it and of the stop cause it knows itself. */
export const JobReportSchema = v.strictObject({
  end: v.picklist(["succeeded", "failed", "stopped", "sandbox_failed"]),
  reason: v.picklist(REASONS),
  /** One sentence for a person, when there is something to add to the reason. */
  detail: v.nullable(v.pipe(v.string(), v.maxLength(2048))),
  stop_cause: v.nullable(StopCauseSchema),
  result: v.nullable(TestRunResultSchema),
  usage: v.nullable(v.strictObject({ cpu_ms: CountSchema, max_rss_bytes: CountSchema })),
  /** The layers that held every process of the job, for example `bwrap`, `userns`, `netns`. */
  layers: v.pipe(v.array(v.string()), v.maxLength(16)),
  survivors: v.nullable(CountSchema),
  log: v.strictObject({ sha256: Sha256Schema, size: CountSchema }),
});
export type JobReport = v.InferOutput<typeof JobReportSchema>;
