import type { Server } from "bun";
import { type Context, Hono } from "hono";
import { secureHeaders } from "hono/secure-headers";
import { asFault, errnoOf, fault, isFault, reasonOf } from "../../fault/fault.ts";
import type { FaultCode } from "../../fault/registry.ts";
import { refuseHindered } from "../auth/agent-refusal.ts";
import { agentOf, bearerOf, operatorOf, spendProofs } from "../auth/door.ts";
import { addressOf, RequestLimits } from "../auth/rate-limit.ts";
import { readBody, singleValues } from "./body.ts";
import { problemResponse, statusOf } from "./problem.ts";
import type { Route } from "./route.ts";
import type { Services } from "./services.ts";

/** What the server gives each request beside the request itself. */
export interface Bindings {
  readonly server: Server<undefined>;
}

type App = Hono<{ Bindings: Bindings }>;

/**
 * The application: exactly the routes of the table, each behind its own door. A door resolves who calls, then reads the
 * body by the route's rule; whatever goes wrong becomes one problem document.
 */
export function createApp(routes: readonly Route[], services: Services): App {
  const app: App = new Hono();
  const limits = new RequestLimits();
  app.use(secureHeaders({ crossOriginResourcePolicy: "same-origin", xFrameOptions: "DENY" }));
  for (const route of routes) {
    app.on(route.method, route.path, (context) => answer(route, context, services, limits));
  }
  app.notFound(({ req }) => tell(fault("API_NOT_FOUND", { what: `"${req.method} ${req.path}"` }), services));
  app.onError((error) => tell(error, services));
  return app;
}

async function answer(
  route: Route,
  context: Context<{ Bindings: Bindings }>,
  services: Services,
  limits: RequestLimits,
): Promise<Response> {
  const started = performance.now();
  let response: Response;
  try {
    response = await enter(route, context, services, limits);
  } catch (error) {
    response = tell(error, services);
  }
  // Every answer brings a fresh nonce, so that the next proof needs no round trip of its own.
  response.headers.set("dpop-nonce", services.nonces.current(Math.floor(services.nowMs() / 1000)));
  if (!response.headers.has("cache-control")) response.headers.set("cache-control", "no-store");
  const ms = Math.round(performance.now() - started);
  services.log("debug", "request", { method: route.method, path: route.path, status: response.status, ms });
  return response;
}

async function enter(
  route: Route,
  context: Context<{ Bindings: Bindings }>,
  services: Services,
  limits: RequestLimits,
): Promise<Response> {
  const request = context.req.raw;
  const nowMs = services.nowMs();
  const peer = context.env.server.requestIP(request)?.address ?? null;
  const address = addressOf(peer, request.headers.get("x-forwarded-for"));
  const common = {
    services,
    request,
    params: context.req.param(),
    nowMs,
    address,
    limits,
    patience: (seconds: number) => context.env.server.timeout(request, seconds),
  };
  // The runtime puts the Host header into the URL unread.
  if (!URL.canParse(request.url)) throw fault("API_BODY_MALFORMED", { path: "Host", why: "names no host" });
  const query = singleValues(new URL(request.url).searchParams, route.query);
  switch (route.who) {
    case "public": {
      const enterPublic = async () => {
        const body = await readBody(request, route.body);
        return await route.handle({ ...common, query, body, principal: null });
      };
      return route.guarded
        ? await countingFailures(limits, address, nowMs, enterPublic)
        : await enterPublic();
    }
    case "operator": {
      const principal = operatorOf(request, services);
      const body = await readBody(request, route.body);
      return await route.handle({ ...common, query, body, principal });
    }
    case "agent": {
      const bearer = bearerOf(request, services, nowMs);
      const body = await readBody(request, route.body);
      const principal = await agentOf(request, body, bearer, services, nowMs);
      const { accountId, proven } = principal;
      await refuseHindered(principal, route.refuses, services);
      if (route.proofBy === "door") await spendProofs(services, accountId, [proven.proof], nowMs);
      return await route.handle({ ...common, query, body, principal });
    }
  }
}

/** What is no guess at a token or a key: how every first request begins, and what an honest agent may meet. */
const NO_GUESS: readonly FaultCode[] = ["USE_DPOP_NONCE", "AGENT_UNKNOWN", "WIRE_CLOCK_SKEW", "ACCOUNT_FULL"];

/** Lets an address guess only so often. */
async function countingFailures(
  { failures }: RequestLimits,
  address: string,
  nowMs: number,
  work: () => Promise<Response>,
): Promise<Response> {
  failures.check(address, nowMs);
  try {
    return await work();
  } catch (error) {
    if (!isFault(error) || !NO_GUESS.includes(error.code)) failures.spend(address, nowMs);
    throw error;
  }
}

/** A failure as the caller is told it; what is our own goes to the log with its reason. */
function tell(error: unknown, { log, nowMs }: Services): Response {
  const problem = isDiskFull(error) ? fault("CONTROL_DISK_FULL", {}, error) : asFault(error);
  if (statusOf(problem.code) >= 500) {
    log("error", "request failed", { code: problem.code, why: reasonOf(error), stack: stackOf(error) });
  }
  return problemResponse(problem, nowMs());
}

/** From whatever depth: files say ENOSPC or EDQUOT, the database its own sentence. */
function isDiskFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = errnoOf(error);
  if (code === "ENOSPC" || code === "EDQUOT" || /database or disk is full/.test(error.message)) return true;
  return isDiskFull(error.cause);
}

const stackOf = (error: unknown): readonly string[] =>
  error instanceof Error ? (error.stack ?? "").split("\n").slice(1, 6) : [];
