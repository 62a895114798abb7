import type { Server } from "bun";
import { fault, reasonOf } from "../../fault/fault.ts";
import { LIMITS } from "../../protocol/limits.ts";
import type { Bindings } from "../api/app.ts";

const IDLE_S = 30;
const DRAIN_MS = 10_000;

/** Address of `--listen`. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** Reads `HOST:PORT`, an IPv6 host in brackets. Null when it is not one. */
export function parseListen(text: string): ListenAddress | null {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host === undefined || port > 65_535 ? null : { host, port };
}

export const isLoopback = ({ host }: ListenAddress): boolean =>
  host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);

/** Origin by which this host reaches what listens on the address. */
export function localUrl({ host }: ListenAddress, port: number): string {
  const reachable = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `http://${reachable.includes(":") ? `[${reachable}]` : reachable}:${port}`;
}

export interface Listener {
  readonly port: number;
  /** Takes no more requests, finishes those under way within ten seconds. */
  drain(): Promise<void>;
}

export type Handler = (request: Request, bindings: Bindings) => Response | Promise<Response>;

/** Listens. Throws CONTROL_LISTEN. */
export function listen(address: ListenAddress, handler: Handler): Listener {
  const server = serve(address, handler);
  return {
    port: server.port ?? address.port,
    drain: async () => {
      // Idle connections would keep a graceful stop waiting; requests are what is waited for.
      void server.stop(false);
      const deadline = performance.now() + DRAIN_MS;
      while (server.pendingRequests > 0 && performance.now() < deadline) await Bun.sleep(10);
      await server.stop(true);
    },
  };
}

function serve(address: ListenAddress, handler: Handler): Server<undefined> {
  try {
    return Bun.serve({
      hostname: address.host,
      port: address.port,
      idleTimeout: IDLE_S,
      maxRequestBodySize: LIMITS.BLOB_BYTES + 1,
      development: false,
      fetch: (request, server) => handler(request, { server }),
    });
  } catch (error) {
    const where = `${address.host}:${address.port}`;
    throw fault("CONTROL_LISTEN", { address: where, why: reasonOf(error) }, error);
  }
}
