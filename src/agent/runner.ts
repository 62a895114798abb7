import { join } from "node:path";
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { asFault, type Fault, invariant, isFault, reasonOf } from "../fault/fault.ts";
import {
  type ExecutorTask,
  type JobReport,
  JobReportSchema,
  ProgressMessageSchema,
  type StopCause,
  type StopMessage,
} from "../protocol/execution.ts";
import type { BlobRef } from "../protocol/job.ts";
import { parseValue } from "../protocol/json.ts";
import { removeTree } from "../sandbox/remove-tree.ts";
import type { Log } from "./agent-log.ts";
import { type Clock, pause, type Timers } from "./clock.ts";
import { ensurePrivateDirectory } from "./durable-file.ts";
import type { JobRow } from "./job-row.ts";
import type { Journal } from "./journal.ts";
import type { WorkerPool } from "./pool.ts";
import { type ReceiptWriter, storeEnding } from "./receipts.ts";
import type { OpenSecrets } from "./secrets.ts";
import { refusedBy, type Verdict, verdictOfRun } from "./verdict.ts";

/** What the runner needs from its surroundings. */
export interface RunnerDeps {
  readonly journal: Journal;
  readonly receipts: ReceiptWriter;
  readonly pool: WorkerPool;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  readonly workDir: string;
  readonly logDir: string;
  readonly tools: { readonly bwrapPath: string; readonly gitPath: string | null };
  /** Fetches one input into `path` and checks it; throws BLOB_* or WIRE_* faults. */
  readonly fetchBlob: (blob: BlobRef, path: string, signal: AbortSignal) => Promise<void>;
  /** Opens a job's secrets for its worker; throws SECRET_UNOPENED. */
  readonly openSecrets: (claims: JobRow["claims"]) => Promise<OpenSecrets>;
  /** Something a heartbeat should tell soon. */
  readonly news: () => void;
}

interface Run {
  readonly row: JobRow;
  /** Ends the worker's thread, whatever it does. */
  readonly abort: AbortController;
  /** Ends the fetching of inputs; aborted as soon as the run is asked to stop. */
  readonly inputs: AbortController;
  readonly port: MessagePort;
  stop: StopCause | null;
  /** Boot-clock time at which the worker's thread is ended. */
  abortAtBootMs: number;
  /** The worker is done; what is left is to write down how it ended, and no stop reaches that. */
  ended: boolean;
  readonly timers: (() => void)[];
}

/** SIGTERM to SIGKILL inside the sandbox, for causes that do not come with a grace of their own. */
const STOP_GRACE_MS = 5_000;
/** A worker that does not answer a stop within the grace and this is ended with its thread. */
const WORKER_ANSWER_MS = 5_000;
const STORE_RETRY_MS = [200, 1_000, 5_000, 15_000] as const;
/** Waits between tries to fetch an input, the last one again and again until the deadline. */
const FETCH_RETRY_MS = [1_000, 5_000, 15_000, 30_000, 60_000] as const;

/** Runs leased attempts, one worker thread each, and writes down how they ended. */
export class Runner {
  private readonly deps: RunnerDeps;
  private readonly runs = new Map<string, Run>();
  private readonly settled: Set<Promise<void>> = new Set();

  constructor(deps: RunnerDeps) {
    this.deps = deps;
  }

  get running(): number {
    return this.runs.size;
  }

  logPath(jti: string, attempt: number): string {
    return join(this.deps.logDir, "jobs", `${jti}.${attempt}.log`);
  }

  /** Starts a leased attempt. The start is in the journal before anything else knows of it. */
  start(row: JobRow): void {
    const { journal, clock, log } = this.deps;
    journal.markStarted(row, clock.wallMs());
    log("info", "job.started", { job: row.jti, attempt: row.attempt, kind: row.claims.kind });
    const { port1, port2 } = new MessageChannel();
    const run: Run = {
      row,
      abort: new AbortController(),
      inputs: new AbortController(),
      port: port1,
      stop: null,
      abortAtBootMs: Number.POSITIVE_INFINITY,
      ended: false,
      timers: [],
    };
    this.runs.set(keyOf(row), run);
    port1.on("message", (message: unknown) => this.onMessage(row, message));
    const limitMs = row.claims.limits.timeout_s * 1000;
    run.timers.push(
      this.deps.timers.after(limitMs, () => this.stop(row.jti, row.attempt, "deadline", STOP_GRACE_MS)),
    );
    const done = this.execute(run, port2).finally(() => this.settled.delete(done));
    this.settled.add(done);
  }

  /** Asks a run to end. The first cause stands; asking again can only shorten the grace. */
  stop(jti: string, attempt: number, cause: StopCause, graceMs = STOP_GRACE_MS): void {
    const run = this.runs.get(`${jti}/${attempt}`);
    if (!run || run.ended) return;
    const { clock, timers, log } = this.deps;
    if (run.stop === null) {
      run.stop = cause;
      log("info", "job.stopping", { job: jti, attempt, cause });
      this.noteStop(run.row);
      run.inputs.abort();
    }
    const abortAtBootMs = clock.bootMs() + graceMs + WORKER_ANSWER_MS;
    if (abortAtBootMs >= run.abortAtBootMs) return;
    run.abortAtBootMs = abortAtBootMs;
    const message: StopMessage = { type: "stop", cause: run.stop, grace_ms: graceMs };
    run.port.postMessage(message);
    run.timers.push(timers.after(graceMs + WORKER_ANSWER_MS, () => run.abort.abort()));
  }

  stopAll(cause: StopCause, graceMs: number): void {
    for (const { row } of [...this.runs.values()]) this.stop(row.jti, row.attempt, cause, graceMs);
  }

  /** Resolves when every run has ended and its receipt is in the journal. */
  async idle(): Promise<void> {
    while (this.settled.size > 0) await Promise.all(this.settled);
  }

  private async execute(run: Run, workerPort: MessagePort): Promise<void> {
    const verdict = await this.verdict(run, workerPort);
    run.ended = true;
    for (const forget of run.timers) forget();
    run.port.close();
    await this.finish(run.row, verdict);
    this.runs.delete(keyOf(run.row));
    this.deps.news();
  }

  private async verdict(run: Run, workerPort: MessagePort): Promise<Verdict> {
    const attemptDir = join(this.deps.workDir, `${run.row.jti}.${run.row.attempt}`);
    try {
      const blobs = await this.prepare(run, attemptDir);
      if (run.stop !== null) return verdictOfRun(null, run.stop);
      const secrets = await this.deps.openSecrets(run.row.claims);
      if (run.stop !== null) return verdictOfRun(null, run.stop);
      const report = await this.runOnPool(run, workerPort, attemptDir, { blobs, secrets });
      return verdictOfRun(report, run.stop);
    } catch (error) {
      const why = asFault(error);
      if (run.stop !== null) return { ...verdictOfRun(null, run.stop), detail: why.message };
      this.deps.log("error", "job.broken", { job: run.row.jti, code: why.code, why: why.message });
      return brokenBy(why);
    } finally {
      await this.clean(attemptDir);
    }
  }

  /** Writes down that a run is being stopped. The stop itself does not hang on it: a full disk must not keep a job alive. */
  private noteStop(row: JobRow): void {
    const { journal, log } = this.deps;
    try {
      const current = journal.job(row.jti, row.attempt);
      if (current) journal.advance(current, "stop");
    } catch (error) {
      if (!isFault(error)) throw error;
      log("warn", "job.stop_unstored", { job: row.jti, code: error.code, why: error.message });
    }
  }

  private async prepare(run: Run, attemptDir: string): Promise<{ name: string; path: string }[]> {
    await this.clean(attemptDir);
    ensurePrivateDirectory(attemptDir);
    const inputs = join(attemptDir, "inputs");
    ensurePrivateDirectory(inputs);
    ensurePrivateDirectory(join(attemptDir, "run"));
    const blobs: { name: string; path: string }[] = [];
    for (const blob of run.row.claims.blobs ?? []) {
      const path = join(inputs, blob.name);
      await this.fetch(run, blob, path);
      blobs.push({ name: blob.name, path });
    }
    return blobs;
  }

  /** Fetches one input, again and again while what is in the way may pass, until the run is asked to stop. */
  private async fetch(run: Run, blob: BlobRef, path: string): Promise<void> {
    const { timers, log, fetchBlob } = this.deps;
    const { signal } = run.inputs;
    let last: Fault | null = null;
    for (let tries = 0; ; tries++) {
      try {
        return await fetchBlob(blob, path, signal);
      } catch (error) {
        if (signal.aborted && last !== null) throw last;
        if (signal.aborted || !isFault(error) || error.retry === "never") throw error;
        last = error;
        log("warn", "blob.unfetched", {
          job: run.row.jti,
          blob: blob.name,
          code: error.code,
          why: error.message,
        });
        await pause(timers, retryMs(FETCH_RETRY_MS, tries), signal);
        if (signal.aborted) throw last;
      }
    }
  }

  /** The worker's report, or null when its thread was ended or died. */
  private async runOnPool(
    run: Run,
    port: MessagePort,
    attemptDir: string,
    given: Pick<ExecutorTask, "blobs" | "secrets">,
  ): Promise<JobReport | null> {
    const { row } = run;
    invariant(row.grant, "a started job has a grant");
    const { tools, pool, log } = this.deps;
    const task = {
      jti: row.jti,
      attempt: row.attempt,
      kind: row.claims.kind,
      payload: row.claims.payload,
      grant: row.grant,
      ...given,
      workDir: join(attemptDir, "run"),
      logPath: this.logPath(row.jti, row.attempt),
      ...tools,
      port,
    };
    try {
      const answer = parseValue(await pool.run(task, run.abort.signal), JobReportSchema);
      if (answer.ok) return answer.value;
      log("error", "worker.report_malformed", { job: row.jti, path: answer.path, why: answer.why });
    } catch (error) {
      log(run.stop === null ? "error" : "warn", "worker.ended", { job: row.jti, why: reasonOf(error) });
    }
    return null;
  }

  /** A full disk delays the outcome, it never loses it: the attempt stays in flight until its receipt is stored. */
  private async finish(row: JobRow, verdict: Verdict): Promise<void> {
    const { journal, receipts, log, timers } = this.deps;
    for (let tries = 0; ; tries++) {
      try {
        await receipts.write(
          () => [{ job: journal.job(row.jti, row.attempt) ?? row, verdict }],
          ([ending]) => {
            const current = journal.job(row.jti, row.attempt);
            if (!ending || !current) return;
            journal.atomically(() => {
              journal.advance(current, "end");
              storeEnding(journal, ending);
            });
          },
        );
        log("info", "job.finished", {
          job: row.jti,
          attempt: row.attempt,
          outcome: verdict.outcome,
          reason: verdict.reason,
        });
        return;
      } catch (error) {
        if (!isFault(error)) throw error;
        log("error", "job.outcome_unstored", { job: row.jti, code: error.code, why: error.message });
        await pause(timers, retryMs(STORE_RETRY_MS, tries));
      }
    }
  }

  private onMessage(row: JobRow, message: unknown): void {
    const progress = parseValue(message, ProgressMessageSchema);
    if (!progress.ok || !this.runs.has(keyOf(row))) return;
    try {
      this.deps.journal.markStep(row.jti, row.attempt, progress.value.step, progress.value.at);
    } catch (error) {
      if (!isFault(error)) throw error; // the outcome does not hang on a step
      this.deps.log("warn", "job.step_unstored", { job: row.jti, code: error.code, why: error.message });
    }
    this.deps.log("info", "job.step", { job: row.jti, attempt: row.attempt, step: progress.value.step });
  }

  private async clean(attemptDir: string): Promise<void> {
    try {
      await removeTree(attemptDir);
    } catch (error) {
      this.deps.log("warn", "work.unremovable", { path: attemptDir, why: reasonOf(error) }); // swept again at the next start
    }
  }
}

const keyOf = (row: { readonly jti: string; readonly attempt: number }) => `${row.jti}/${row.attempt}`;

/** The wait before try `tries` + 1; the last one of the list from then on. */
const retryMs = (waits: readonly number[], tries: number): number =>
  waits[Math.min(tries, waits.length - 1)] ?? 0;

/** An attempt whose surroundings failed before a worker could say anything. */
function brokenBy(why: Fault): Verdict {
  if (why.code === "SECRET_UNOPENED") return refusedBy(why);
  const input = why.code.startsWith("BLOB_") || why.code.startsWith("WIRE_");
  const reason = input ? "input_unavailable" : "workspace_unusable";
  const detail = `${why.message}. ${why.remedy}`;
  return { outcome: "failed", reason, detail, report: null, refusal: null };
}
