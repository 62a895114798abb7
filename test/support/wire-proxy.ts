import type { Server } from "bun";
import { activateAgent, makeWorld, startControl } from "../../dist-scripts/world.ts";
import { DIST, type Fleet, startAgent } from "./fleet.ts";

/** One exchange as the proxy sees it: everything TLS would have hidden. */
export interface Exchange {
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
  /** Hands the request on and answers with the Control Plane's reply. May be called any number of times. */
  readonly forward: (body?: Uint8Array<ArrayBuffer>) => Promise<Response>;
}

/** What to do with an exchange; null leaves it alone. */
export type Meddler = (exchange: Exchange) => Promise<Response | null> | Response | null;

/** A program between agents and Control Plane that has the certificate: it reads, holds, repeats and alters. */
export class WireProxy {
  meddle: Meddler = () => null;
  private readonly server: Server<undefined>;
  private target = "";

  constructor() {
    this.server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      idleTimeout: 0,
      fetch: (request) => this.pass(request),
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.server.port}`;
  }

  /** Where requests go: the Control Plane's own address. */
  aim(target: string): void {
    this.target = target;
  }

  async close(): Promise<void> {
    await this.server.stop(true);
  }

  private async pass(request: Request): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    const body = new Uint8Array(await request.arrayBuffer());
    const forward = async (bytes: Uint8Array<ArrayBuffer> = body): Promise<Response> => {
      const headers = new Headers(request.headers);
      for (const name of ["host", "content-length", "connection", "accept-encoding"]) headers.delete(name);
      const init = { method: request.method, headers, redirect: "manual" as const, signal: request.signal };
      const reply = await fetch(`${this.target}${pathname}${search}`, {
        ...init,
        ...(bytes.length > 0 || request.method === "POST" || request.method === "PUT" ? { body: bytes } : {}),
      });
      return new Response(reply.body, { status: reply.status, headers: new Headers(reply.headers) });
    };
    try {
      const exchange = { method: request.method, path: pathname, headers: request.headers, body, forward };
      return (await this.meddle(exchange)) ?? (await forward());
    } catch {
      return new Response("bad gateway", { status: 502 }); // the Control Plane is down: what a proxy says then
    }
  }
}

/** A fleet whose only way to its Control Plane leads through the proxy. */
export interface ProxiedFleet extends Fleet {
  readonly proxy: WireProxy;
}

export async function startProxiedFleet(label: string): Promise<ProxiedFleet> {
  const proxy = new WireProxy();
  const world = makeWorld(DIST, label);
  const control = await startControl(world, "127.0.0.1:0", ["--public-url", proxy.url]);
  proxy.aim(control.url);
  const { agent_id } = await activateAgent(world, proxy.url);
  return { world, control, agent: startAgent(world), agentId: agent_id, proxy };
}

/** The reply with some of its JSON changed, its signature header as it was. */
export async function altered(
  reply: Response,
  change: (json: Record<string, unknown>) => object,
): Promise<Response> {
  const json = (await reply.json()) as Record<string, unknown>;
  const headers = new Headers(reply.headers);
  headers.delete("content-length");
  return new Response(JSON.stringify(change(json)), { status: reply.status, headers });
}
