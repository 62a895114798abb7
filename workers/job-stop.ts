import type { MessagePort } from "node:worker_threads";
import * as v from "valibot";
import { type StopCause, StopCauseSchema } from "../src/protocol/execution.ts";
import { parseValue } from "../src/protocol/json.ts";
import { LIMITS } from "../src/protocol/limits.ts";
import { CountSchema } from "../src/protocol/scalars.ts";
import type { StopSignals } from "../src/sandbox/run.ts";

const StopMessageSchema = v.strictObject({
  type: v.literal("stop"),
  cause: StopCauseSchema,
  grace_ms: CountSchema,
});

/** The agent keeps the deadline; this one only counts should it be unable to. */
const NET_AFTER_DEADLINE_MS = 2_000;
const NET_GRACE_MS = 5_000;

/** One job's stop: the first cause stands, and the shortest grace anybody asked for. Dispose ends its timers. */
export class JobStop implements StopSignals, Disposable {
  private readonly termController = new AbortController();
  private readonly killController = new AbortController();
  private readonly net: ReturnType<typeof setTimeout>;
  private readonly onMessage = (message: unknown) => this.receive(message);
  private readonly port: MessagePort;
  private killTimer: ReturnType<typeof setTimeout> | null = null;
  private killAtMs = Number.POSITIVE_INFINITY;
  cause: StopCause | null = null;

  constructor(port: MessagePort, timeoutS: number) {
    this.port = port;
    this.net = setTimeout(() => this.stop("deadline", NET_GRACE_MS), timeoutS * 1000 + NET_AFTER_DEADLINE_MS);
    port.on("message", this.onMessage);
  }

  get term(): AbortSignal {
    return this.termController.signal;
  }

  get kill(): AbortSignal {
    return this.killController.signal;
  }

  stop(cause: StopCause, graceMs: number): void {
    this.cause ??= cause;
    this.termController.abort();
    const waitMs = Math.min(graceMs, LIMITS.STOP_GRACE_S * 1000);
    const killAtMs = performance.now() + waitMs;
    if (killAtMs >= this.killAtMs) return;
    this.killAtMs = killAtMs;
    if (this.killTimer) clearTimeout(this.killTimer);
    this.killTimer = setTimeout(() => this.killController.abort(), waitMs);
  }

  [Symbol.dispose](): void {
    this.port.off("message", this.onMessage);
    clearTimeout(this.net);
    if (this.killTimer) clearTimeout(this.killTimer);
  }

  private receive(message: unknown): void {
    const stop = parseValue(message, StopMessageSchema);
    if (stop.ok) this.stop(stop.value.cause, stop.value.grace_ms);
  }
}
