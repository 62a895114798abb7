import type { AgentHindrance } from "../auth/agent-refusal.ts";
import type { AgentPrincipal, OperatorPrincipal } from "../auth/principal.ts";
import type { RequestLimits } from "../auth/rate-limit.ts";
import type { Services } from "./services.ts";

/** What a route takes as its body. Anything else is refused before a byte of it is kept. */
export type BodyRule =
  | { readonly type: "none" }
  | { readonly type: "json" | "form" | "bytes"; readonly limit: number }
  /** The handler reads it itself, with a limit of its own. */
  | { readonly type: "stream" };

/** One request that has come through its route's door. */
export interface Call<P> {
  readonly services: Services;
  readonly principal: P;
  readonly request: Request;
  /** Values of the path's `:names`. */
  readonly params: Readonly<Record<string, string>>;
  /** Values of the query; only names the route lists, each once. */
  readonly query: Readonly<Record<string, string | undefined>>;
  readonly body: Uint8Array;
  readonly nowMs: number;
  /** Where it comes from, as far as that can be known. */
  readonly address: string;
  readonly limits: RequestLimits;
  /** Lets the answer take longer than connections usually may stay idle, in seconds; 0 for without end. */
  readonly patience: (seconds: number) => void;
}

interface RouteShape<Who extends string, P> {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** Path with `:names`. */
  readonly path: string;
  readonly who: Who;
  readonly body: BodyRule;
  readonly query: readonly string[];
  readonly handle: (call: Call<P>) => Promise<Response>;
}

/** Anyone. What comes with a key's proof and no account yet is public too; its handler checks the proof. */
export type PublicRoute = RouteShape<"public", null> & {
  /** Who fails here too often is turned away for a while. */
  readonly guarded?: true;
};

export type AgentRoute = RouteShape<"agent", AgentPrincipal> & {
  /** `handler` writes the proof down with its own work; `door` does it before the handler. */
  readonly proofBy: "door" | "handler";
  /** What turns an agent away although its access token is good. */
  readonly refuses: readonly AgentHindrance[];
};

export type OperatorRoute = RouteShape<"operator", OperatorPrincipal>;

/** One row of the route table: every route says who may call it. */
export type Route = PublicRoute | AgentRoute | OperatorRoute;
