import type { MessagePort } from "node:worker_threads";
import { shellWords } from "../../src/protocol/argv.ts";
import type { JobReport, ProgressMessage } from "../../src/protocol/execution.ts";
import type { StepReport } from "../../src/protocol/outcome.ts";
import type { JobLimits } from "../../src/protocol/scope.ts";
import { runInSandbox, type SandboxEnd } from "../../src/sandbox/run.ts";
import type { ViewSpec } from "../../src/sandbox/view.ts";
import type { JobStop } from "../job-stop.ts";
import type { Scrubber } from "../scrub/scrubber.ts";
import { displayLine } from "./display.ts";
import type { JobLog } from "./job-log.ts";

/** One command of a job. */
export interface Step {
  /** `checkout`, `setup 1`, `test`: at most 64 characters, ours. */
  readonly name: string;
  readonly argv: readonly string[];
  /** What the log's heading and the report show in place of the argv. */
  readonly title?: string;
  readonly view: ViewSpec;
  /** Sees standard output as it arrives, without secrets, besides the log. */
  readonly onStdout?: (chunk: Uint8Array) => void;
}

/** How a step ended, how it is shown, and the last lines it wrote that hold something, raw but for secrets. */
export type StepEnd = SandboxEnd & { readonly title: string; readonly lastLines: readonly string[] };

const LAST_BYTES = 2_048;

/** Runs a job's commands one after the other, each in its own sandbox, and keeps the account of them. */
export class StepRunner {
  readonly steps: StepReport[] = [];
  private readonly bwrapPath: string;
  private readonly limits: JobLimits;
  private readonly log: JobLog;
  private readonly stop: JobStop;
  private readonly port: MessagePort;
  private readonly scrubber: Scrubber;
  private cpuMs = 0;
  private maxRssBytes = 0;
  private counted = false;
  private left: number | null = 0;

  constructor(parts: {
    readonly bwrapPath: string;
    readonly limits: JobLimits;
    readonly log: JobLog;
    readonly stop: JobStop;
    readonly port: MessagePort;
    readonly scrubber: Scrubber;
  }) {
    this.bwrapPath = parts.bwrapPath;
    this.limits = parts.limits;
    this.log = parts.log;
    this.stop = parts.stop;
    this.port = parts.port;
    this.scrubber = parts.scrubber;
  }

  /** What all steps together used; null when no step's account could be had. */
  get usage(): JobReport["usage"] {
    return this.counted ? { cpu_ms: this.cpuMs, max_rss_bytes: this.maxRssBytes } : null;
  }

  get survivors(): number | null {
    return this.left;
  }

  /** Runs one step to its end. A job already stopped starts nothing more. */
  async run(step: Step): Promise<StepEnd> {
    const startedAt = Date.now();
    // Scrubbed before it is cut: half a secret would not be known for one.
    const title = displayLine(this.scrubber.text(step.title ?? shellWords(step.argv)));
    this.port.postMessage({ type: "step", step: step.name, at: startedAt } satisfies ProgressMessage);
    this.log.heading(`${step.name}: ${title}`);
    const streams = { stdout: this.scrubber.stream(), stderr: this.scrubber.stream() };
    let last: Uint8Array = new Uint8Array();
    const take = (stream: "stdout" | "stderr", clean: Uint8Array): boolean => {
      if (stream === "stdout") step.onStdout?.(clean);
      last = Buffer.concat([last.subarray(-LAST_BYTES), clean.subarray(-LAST_BYTES)]);
      return this.log.output(clean);
    };
    const end = await runInSandbox({
      bwrapPath: this.bwrapPath,
      view: step.view,
      argv: step.argv,
      fileBytesMax: this.limits.workspace_bytes,
      stop: this.stop,
      onOutput: (stream, chunk) => take(stream, streams[stream].push(chunk)),
    });
    take("stdout", streams.stdout.end());
    take("stderr", streams.stderr.end());
    this.record(step.name, title, startedAt, end);
    this.log.heading(`${step.name} ${endingOf(end, this.limits)}`);
    return { ...end, title, lastLines: linesOf(last) };
  }

  private record(name: string, command: string, startedAt: number, end: SandboxEnd): void {
    this.steps.push({
      name,
      command,
      started_at: startedAt,
      ms: end.ms,
      exit_code: end.exit_code,
      end: end.end === "stopped" && this.stop.cause === "deadline" ? "deadline" : end.end,
    });
    if (end.usage) {
      this.counted = true;
      this.cpuMs += end.usage.cpu_ms;
      this.maxRssBytes = Math.max(this.maxRssBytes, end.usage.max_rss_bytes);
    }
    this.left = this.left === null || end.survivors === null ? null : this.left + end.survivors;
  }
}

/** `ended with status 1 after 40 ms`: what a reader of the log wants to know of a step. */
function endingOf(end: SandboxEnd, limits: JobLimits): string {
  const after = end.ms < 1000 ? `after ${end.ms} ms` : `after ${(end.ms / 1000).toFixed(1)} s`;
  switch (end.end) {
    case "exited":
      if (end.why !== null) return `did not start: ${displayLine(end.why)}`;
      return `ended with status ${end.exit_code} ${after}`;
    case "signalled":
      return `was ended by ${end.signal} ${after}`;
    case "stopped":
      return `was stopped ${after}`;
    case "output_limit":
      return `was ended ${after}: the job's output reached its limit of ${limits.output_bytes} bytes`;
    case "sandbox_failed":
      return `did not run: ${displayLine(end.why ?? "the sandbox could not be built")}`;
  }
}

const linesOf = (bytes: Uint8Array): readonly string[] =>
  new TextDecoder()
    .decode(bytes)
    .split("\n")
    .filter((line) => line.trim() !== "");

/** The last line a step wrote: where most tools say what was wrong. */
export const lastLineOf = ({ lastLines }: StepEnd): string => displayLine(lastLines.at(-1) ?? "");
