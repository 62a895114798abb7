import { closeSync } from "node:fs";
import * as v from "valibot";
import { reasonOf } from "../fault/fault.ts";
import { parseDocument } from "../protocol/json.ts";
import { type Launched, launch } from "./launch.ts";
import {
  becomeSubreaper,
  limitProcess,
  openPidfd,
  type ProcessLimit,
  type ProcessUsage,
  pidfdEnded,
  pidfdKill,
  reap,
} from "./libc.ts";
import { liveUsage } from "./live-usage.ts";
import { type ViewSpec, viewArgs } from "./view.ts";

/** How a job is asked to end: `term` sends SIGTERM to the command's process group, `kill` ends everything at once. */
export interface StopSignals {
  readonly term: AbortSignal;
  readonly kill: AbortSignal;
}

/** One command to run inside a view. */
export interface SandboxRun {
  readonly bwrapPath: string;
  readonly view: ViewSpec;
  /** argv[0] is looked up on `PROGRAM_PATH` inside when it holds no slash. */
  readonly argv: readonly string[];
  /** No file the command writes may grow beyond this. */
  readonly fileBytesMax: number;
  readonly stop: StopSignals;
  /** Takes output as it arrives, keeping nothing of `chunk`; false ends the run with `output_limit`. */
  readonly onOutput: (stream: "stdout" | "stderr", chunk: Uint8Array) => boolean;
}

/** How a command in a sandbox ended. */
export interface SandboxEnd {
  /** `sandbox_failed`: the view could not be built and the command never ran. Everything else: it did. */
  readonly end: "exited" | "signalled" | "stopped" | "output_limit" | "sandbox_failed";
  /** As a shell would give it: 127 for a program that is not there, 126 for one that cannot start, 128 + n for signal n. */
  readonly exit_code: number | null;
  readonly signal: string | null;
  /** Why the sandbox failed or the program did not start. */
  readonly why: string | null;
  readonly ms: number;
  readonly usage: ProcessUsage | null;
  /** Processes of the run alive after its end; null when bwrap died before it said what it started. */
  readonly survivors: number | null;
}

const INIT_END_TRIES = 2_500;
const INIT_END_WAIT_MS = 2;
const DRAIN_MS = 2_000;
const COMPLAINT_BYTES = 4_096;
const OPEN_FILES_SOFT = 1_024;
const OPEN_FILES_HARD = 65_536;

/**
 * Runs one command inside a view and waits until nothing of it is left. Never throws for what the command or bwrap
 * does: a host that cannot build the view answers `sandbox_failed`, and the command has not run.
 */
export async function runInSandbox(run: SandboxRun): Promise<SandboxEnd> {
  const startedMs = performance.now();
  if (run.stop.term.aborted) return { ...NOTHING, end: "stopped" };
  becomeSubreaper();
  using child = tryLaunch(run);
  if ("why" in child) return { ...NOTHING, why: child.why };
  const end = await new Watch(child, run).ended();
  return { ...end, ms: Math.round(performance.now() - startedMs) };
}

function tryLaunch(run: SandboxRun): Launched | (Disposable & { readonly why: string }) {
  try {
    return launch(run.bwrapPath, viewArgs(run.view), run.argv);
  } catch (error) {
    // bwrap is gone, or the host is out of descriptors or processes
    return { why: reasonOf(error), [Symbol.dispose]: () => undefined };
  }
}

const NOTHING: SandboxEnd = {
  end: "sandbox_failed",
  exit_code: null,
  signal: null,
  why: null,
  ms: 0,
  usage: null,
  survivors: 0,
};

/** The first process of the sandbox's pid namespace: when it has ended, the kernel has ended everything below it. */
interface Init {
  readonly pid: number;
  readonly pidfd: number;
}

/** One running sandbox, from its launch to the proof that nothing is left of it. */
class Watch {
  private readonly child: Launched;
  private readonly run: SandboxRun;
  private init: Init | null = null;
  private cut: "stopped" | "output_limit" | null = null;
  private problem: string | null = null;
  private released = false;
  private bug: { readonly error: unknown } | null = null;
  private used: ProcessUsage = { cpu_ms: 0, max_rss_bytes: 0 };
  private exitCode: number | null = null;
  private complaint = "";

  constructor(child: Launched, run: SandboxRun) {
    this.child = child;
    this.run = run;
  }

  async ended(): Promise<Omit<SandboxEnd, "ms">> {
    const { term, kill } = this.run.stop;
    term.addEventListener("abort", this.onTerm);
    kill.addEventListener("abort", this.onKill);
    try {
      const output = Promise.all([this.pump("stdout"), this.pump("stderr")]);
      await Promise.all([this.followStatus(), this.child.process.exited]);
      const { usage, survivors } = await this.awaitInit();
      await Promise.race([output, Bun.sleep(DRAIN_MS)]); // end of file comes with the last process
      if (this.bug) throw this.bug.error;
      return { ...this.verdict(), usage, survivors };
    } finally {
      term.removeEventListener("abort", this.onTerm);
      kill.removeEventListener("abort", this.onKill);
      if (this.init) closeSync(this.init.pidfd);
    }
  }

  private readonly onTerm = (): void => {
    this.cut ??= "stopped";
    // No group yet means no command yet: nothing to be gentle with.
    if (this.init && !signalGroup(this.init.pid, "SIGTERM")) this.end();
  };

  private readonly onKill = (): void => {
    this.cut ??= "stopped";
    this.end();
  };

  /**
   * bwrap first, so that its child falls to us and its usage with it; then the child itself. Before the child is known
   * nothing is killed: bwrap alone would leave it behind. It is ended when it reports at the gate.
   */
  private end(): void {
    if (this.init === null) return;
    if (!pidfdEnded(this.init.pidfd)) this.used = liveUsage(this.init.pid);
    this.child.process.kill("SIGKILL");
    pidfdKill(this.init.pidfd);
  }

  private async pump(stream: "stdout" | "stderr"): Promise<void> {
    for await (const chunk of Bun.file(this.child[stream]).stream()) {
      if (stream === "stderr" && this.complaint.length < COMPLAINT_BYTES) {
        this.complaint += Buffer.from(chunk.subarray(0, COMPLAINT_BYTES)).toString("latin1");
      }
      if (this.cut === "output_limit" || this.bug || this.taken(stream, chunk)) continue;
      this.cut ??= "output_limit";
      this.end();
    }
  }

  private taken(stream: "stdout" | "stderr", chunk: Uint8Array): boolean {
    try {
      return this.run.onOutput(stream, chunk);
    } catch (error) {
      this.bug = { error }; // thrown again once the sandbox is gone
      return false;
    }
  }

  private async followStatus(): Promise<void> {
    let text = "";
    for await (const chunk of Bun.file(this.child.status).stream()) {
      text += Buffer.from(chunk).toString("latin1");
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) this.onStatus(line);
    }
  }

  private onStatus(line: string): void {
    const status = parseDocument(line, StatusSchema);
    if (!status.ok) {
      this.problem = `bwrap's status cannot be read: ${status.why}`;
      this.child.process.kill("SIGKILL");
      return;
    }
    const pid = status.value["child-pid"];
    if (pid !== undefined) this.admit(pid);
    this.exitCode = status.value["exit-code"] ?? this.exitCode;
  }

  /** The child waits at the gate, unless it has failed to build the view; then bwrap says why. */
  private admit(pid: number): void {
    const pidfd = openPidfd(pid);
    if (pidfd === null) return;
    this.init = { pid, pidfd };
    if (this.cut !== null) {
      this.end();
    } else if (limitProcess(pid, this.limits())) {
      this.released = true;
      this.child.release();
    } else if (!pidfdEnded(pidfd)) {
      this.problem = "the process limits could not be set";
      this.end();
    }
  }

  private limits(): readonly ProcessLimit[] {
    return [
      { resource: "CORE", hard: 0 },
      { resource: "FSIZE", hard: this.run.fileBytesMax },
      { resource: "NOFILE", hard: OPEN_FILES_HARD, soft: OPEN_FILES_SOFT },
    ];
  }

  private async awaitInit(): Promise<Pick<SandboxEnd, "usage" | "survivors">> {
    const { init } = this;
    if (init === null) return { usage: null, survivors: null };
    for (let tries = 0; tries < INIT_END_TRIES; tries++) {
      if (pidfdEnded(init.pidfd)) {
        const usage = reap(init.pid);
        return { usage: typeof usage === "string" ? null : larger(usage, this.used), survivors: 0 };
      }
      if (tries > 0) pidfdKill(init.pidfd);
      await Bun.sleep(INIT_END_WAIT_MS);
    }
    return { usage: null, survivors: 1 }; // stuck in the kernel (a dead network mount); at least its init is left
  }

  private verdict(): Omit<SandboxEnd, "ms" | "usage" | "survivors"> {
    const { cut, exitCode, child } = this;
    const code = exitCode;
    if (cut !== null) return { end: cut, exit_code: code, signal: signalOf(code), why: null };
    if (code !== null) {
      const signal = signalOf(code);
      return { end: signal === null ? "exited" : "signalled", exit_code: code, signal, why: null };
    }
    if (this.problem !== null)
      return { end: "sandbox_failed", exit_code: null, signal: null, why: this.problem };
    const { signalCode } = child.process;
    if (signalCode !== null) {
      const why = `bwrap itself was ended by ${signalCode}`;
      // Once let through the gate the command has run, and died with what held it.
      const end = this.released ? "signalled" : "sandbox_failed";
      return { end, exit_code: null, signal: String(signalCode), why };
    }
    return notStarted(this.complaint, child.process.exitCode);
  }
}

/** The account of the reaped and the one taken just before a kill overlap; neither holds everything. */
const larger = (a: ProcessUsage, b: ProcessUsage): ProcessUsage => ({
  cpu_ms: Math.max(a.cpu_ms, b.cpu_ms),
  max_rss_bytes: Math.max(a.max_rss_bytes, b.max_rss_bytes),
});

/** With no command to write anything, whatever is on standard error is bwrap's own. */
function notStarted(complaint: string, exitCode: number | null): ReturnType<Watch["verdict"]> {
  const text = complaint.trim();
  const reason = /^bwrap: execvp .*: ([^:]+)$/s.exec(text)?.[1];
  if (reason !== undefined) {
    const exit_code = /^(No such file|Not a directory)/.test(reason) ? 127 : 126;
    return { end: "exited", exit_code, signal: null, why: reason };
  }
  const why = text.split("\n").at(-1) || `bwrap ended with status ${exitCode} and said nothing`;
  return { end: "sandbox_failed", exit_code: null, signal: null, why };
}

const StatusSchema = v.object({
  "child-pid": v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(2))),
  "exit-code": v.optional(v.pipe(v.number(), v.safeInteger())),
});

/** Signals that end a process. bwrap, like a shell, folds them into the exit code: 128 + n. */
const SIGNALS: Readonly<Record<number, string>> = {
  1: "SIGHUP",
  2: "SIGINT",
  3: "SIGQUIT",
  4: "SIGILL",
  5: "SIGTRAP",
  6: "SIGABRT",
  7: "SIGBUS",
  8: "SIGFPE",
  9: "SIGKILL",
  10: "SIGUSR1",
  11: "SIGSEGV",
  12: "SIGUSR2",
  13: "SIGPIPE",
  14: "SIGALRM",
  15: "SIGTERM",
  24: "SIGXCPU",
  25: "SIGXFSZ",
  31: "SIGSYS",
};

/** A program that itself exits with 128 + n cannot be told from one that signal n ended; it nearly always reports one. */
const signalOf = (exitCode: number | null): string | null =>
  exitCode === null ? null : (SIGNALS[exitCode - 128] ?? null);

/** False when the group does not exist. */
function signalGroup(leader: number, signal: "SIGTERM"): boolean {
  try {
    process.kill(-leader, signal);
    return true;
  } catch {
    return false; // ESRCH: not there (yet, or any more)
  }
}
