import type { AccountId, AgentId } from "../../protocol/ids.ts";
import type { Proven } from "./dpop.ts";

/** A program that showed a token bound to its key, and proved to have that key. Made by the door of a route only. */
export interface AgentPrincipal {
  readonly kind: "agent";
  readonly accountId: AccountId;
  readonly agentId: AgentId;
  /** When its access token ends. */
  readonly untilS: number;
  readonly proven: Proven;
}

/** Who holds the admin key of the data directory: everything of its one account. Made by the door of a route only. */
export interface OperatorPrincipal {
  readonly kind: "operator";
  readonly accountId: AccountId;
}
