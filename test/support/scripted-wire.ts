// How an agent reaches the scripted Control Plane: within the process and its virtual time, or over real HTTP.

import {
  type OpenStream,
  openResponse,
  openStreamResponse,
  type Transport,
} from "../../src/agent/transport.ts";
import { fault, isFault } from "../../src/fault/fault.ts";
import { LIMITS } from "../../src/protocol/limits.ts";
import type { Route, ScriptedControl } from "./scripted-control.ts";

const ROUTES: readonly (readonly [RegExp, Route])[] = [
  [/^\/\.well-known\/agentina$/, "trust"],
  [/^\/v1\/activate$/, "activate"],
  [/^\/v1\/token$/, "token"],
  [/^\/v1\/heartbeat$/, "heartbeat"],
  [/^\/v1\/jobs\/[^/]+\/\d+\/log$/, "log"],
  [/^\/v1\/blobs\/[0-9a-f]{64}$/, "blob"],
  [/^\/v1\/wake$/, "wake"],
  [/^\/v1\/rekey$/, "rekey"],
];

function routeOf(url: URL): Route {
  const found = ROUTES.find(([pattern]) => pattern.test(url.pathname));
  if (!found) throw new Error(`no route for ${url.pathname}`);
  return found[1];
}

/** The transport of one agent: the agent's own reading of responses, its time limit on this clock. */
export const wireTo =
  (control: ScriptedControl): Transport =>
  async (request) => {
    const { time } = control;
    const url = new URL(request.url);
    const exchange = {
      route: routeOf(url),
      method: request.method,
      url,
      headers: new Headers(request.headers),
      body: Uint8Array.from(request.body ?? []),
    };
    const limits = Promise.withResolvers<never>();
    const seconds = LIMITS.REQUEST_TIMEOUT_MS / 1000;
    const late = () => limits.reject(fault("WIRE_TIMEOUT", { url: request.url, seconds }));
    const cut = () => limits.reject(fault("WIRE_UNREACHABLE", { url: request.url, why: "aborted" }));
    const forget = time.after(LIMITS.REQUEST_TIMEOUT_MS, late);
    request.signal?.addEventListener("abort", cut, { once: true });
    if (request.signal?.aborted) cut();
    try {
      const response = await Promise.race([control.handle(exchange), limits.promise]);
      return await time.track(openResponse(request, response));
    } finally {
      forget();
      request.signal?.removeEventListener("abort", cut);
    }
  };

export const streamsFrom =
  (control: ScriptedControl): OpenStream =>
  async (request) => {
    const url = new URL(request.url);
    const headers = new Headers(request.headers);
    const exchange = { route: routeOf(url), method: "GET", url, headers, body: new Uint8Array() };
    const cut = Promise.withResolvers<never>();
    cut.promise.catch((error: unknown) => isFault(error));
    const abort = () => cut.reject(fault("WIRE_UNREACHABLE", { url: request.url, why: "aborted" }));
    request.signal.addEventListener("abort", abort, { once: true });
    if (request.signal.aborted) abort();
    const response = await Promise.race([control.handle(exchange), cut.promise]);
    const stream = await control.time.track(openStreamResponse(request, response));
    return cuttable(stream, cut.promise);
  };

/** The same bytes, until `cut` rejects: what a fetch does to its body when it is aborted. */
function cuttable(stream: ReadableStream<Uint8Array>, cut: Promise<never>): ReadableStream<Uint8Array> {
  const reader = stream.getReader();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await Promise.race([reader.read(), cut]);
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        controller.error(error);
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
}

/** The same Control Plane behind a real socket on loopback. */
export function serveScripted(control: ScriptedControl) {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    fetch: async (request) => {
      const url = new URL(request.url);
      const body = new Uint8Array(await request.arrayBuffer());
      const { method, headers } = request;
      return await control.handle({ route: routeOf(url), method, url, headers, body });
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}/`,
    [Symbol.asyncDispose]: async () => {
      await server.stop(true);
    },
  };
}
