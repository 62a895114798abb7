import type { AccountId, AgentId } from "../../protocol/ids.ts";
import type { Proven } from "./dpop.ts";

/** Who calls a route. Made by the door of the route only. */
export type Principal = AgentPrincipal | OperatorPrincipal;

/** A program that showed a token bound to its key, and proved to have that key. */
export interface AgentPrincipal {
  readonly kind: "agent";
  readonly accountId: AccountId;
  readonly agentId: AgentId;
  readonly jkt: string;
  /** When its access token ends. */
  readonly untilS: number;
  readonly proven: Proven;
}

/** Who holds the admin key of the data directory: everything of its one account. */
export interface OperatorPrincipal {
  readonly kind: "operator";
  readonly accountId: AccountId;
}
