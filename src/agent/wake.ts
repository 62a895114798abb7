import { asFault, isFault } from "../fault/fault.ts";
import { ROUTES } from "../protocol/wire.ts";
import type { Log } from "./agent-log.ts";
import { backoffMs } from "./beat.ts";
import { pause, type Timers } from "./clock.ts";
import type { Session } from "./session.ts";
import { Silence } from "./silence.ts";
import type { OpenStream } from "./transport.ts";

export interface WakeDeps {
  readonly url: string;
  readonly session: Session;
  readonly openStream: OpenStream;
  readonly timers: Timers;
  readonly random01: () => number;
  readonly log: Log;
  /** "Beat now" arrived. */
  readonly onWake: () => void;
}

/** Silence after which the stream counts as dead: the server says something every twenty seconds. */
const SILENCE_MS = 45_000;
const LINE_BYTES_MAX = 4_096;

/**
 * Listens for "beat now" (server-sent events) until `signal` aborts. It carries no data and nothing depends on it:
 * when it is missing, the interval serves.
 */
export async function listenForWake(deps: WakeDeps, signal: AbortSignal): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    let atLeastMs = 0;
    try {
      await listenOnce(deps, signal, () => {
        failures = 0;
      });
    } catch (error) {
      if (signal.aborted) return;
      const why = asFault(error);
      if (isFault(error)) deps.session.learn(error);
      if (why.code === "WIRE_RATE_LIMITED") atLeastMs = Number(why.params["seconds"]) * 1000;
      deps.log("debug", "wake.lost", { code: isFault(error) ? why.code : "stream", why: why.message });
    }
    failures += 1; // also when the server closed it: with the bearer's end, or for a shutdown
    await pause(deps.timers, backoffMs(failures, deps.random01(), atLeastMs), signal);
  }
}

async function listenOnce(deps: WakeDeps, outer: AbortSignal, alive: () => void): Promise<void> {
  const url = new URL(ROUTES.wake, deps.url).href;
  const silence = new Silence(deps.timers, SILENCE_MS);
  const signal = AbortSignal.any([outer, silence.signal]);
  try {
    const headers = await deps.session.authorize("GET", ROUTES.wake, signal);
    const stream = await deps.openStream({ url, accept: "text/event-stream", headers, signal });
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      silence.broken();
      alive();
      rest += decoder.decode(chunk, { stream: true });
      const lines = rest.split("\n");
      rest = (lines.pop() ?? "").slice(-LINE_BYTES_MAX);
      if (lines.some((line) => line.trimEnd() === "event: beat")) deps.onWake();
    }
  } finally {
    silence.end();
  }
}
