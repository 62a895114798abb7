import { asFault, isFault } from "../fault/fault.ts";
import { ROUTES } from "../protocol/wire.ts";
import type { Log } from "./agent-log.ts";
import { backoffMs } from "./beat.ts";
import type { Timers } from "./clock.ts";
import type { Session } from "./session.ts";
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
    try {
      await listenOnce(deps, signal, () => {
        failures = 0;
      });
      failures += 1; // closed by the server: with the bearer's end, or for a shutdown
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      const { code, message } = asFault(error);
      deps.log("debug", "wake.lost", { code: isFault(error) ? code : "stream", why: message });
    }
    await pause(deps.timers, backoffMs(failures, deps.random01()), signal);
  }
}

async function listenOnce(deps: WakeDeps, outer: AbortSignal, alive: () => void): Promise<void> {
  const url = new URL(ROUTES.wake, deps.url).href;
  const silence = new AbortController();
  const signal = AbortSignal.any([outer, silence.signal]);
  let forget = deps.timers.after(SILENCE_MS, () => silence.abort());
  try {
    const headers = await deps.session.authorize("GET", ROUTES.wake);
    const stream = await deps.openStream({ url, accept: "text/event-stream", headers, signal });
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      forget();
      forget = deps.timers.after(SILENCE_MS, () => silence.abort());
      alive();
      rest += decoder.decode(chunk, { stream: true });
      const lines = rest.split("\n");
      rest = (lines.pop() ?? "").slice(-LINE_BYTES_MAX);
      if (lines.some((line) => line.trimEnd() === "event: beat")) deps.onWake();
    }
  } finally {
    forget();
    silence.abort();
  }
}

function pause(timers: Timers, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const forget = timers.after(ms, () => {
      signal.removeEventListener("abort", end);
      resolve();
    });
    const end = () => {
      forget();
      resolve();
    };
    signal.addEventListener("abort", end, { once: true });
  });
}
