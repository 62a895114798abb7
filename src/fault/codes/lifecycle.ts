import { EXIT } from "../exit.ts";
import type { FaultTable } from "../table.ts";

/** What keeps an agent from going on: orders, quarantine, the seal over its state, its machine's fingerprint. */
export const lifecycleFaults = {
  STATE_TERMINAL: {
    sentence: "Cannot run: the Control Plane ended this agent for good ({reason})",
    remedy:
      'Mint a fresh token on the Control Plane and run the installer again, or "agentina activate" with it; it becomes a new agent',
    exit: EXIT.TERMINAL,
    retry: "never",
  },
  STATE_QUARANTINED: {
    sentence: "Cannot take work: this agent is quarantined ({reason})",
    remedy:
      'An admin looks at the evidence with "agentina-control anomaly show" and recovers one process with "agentina-control anomaly recover"',
    exit: EXIT.NEGATIVE,
    retry: "never",
  },
  STATE_TAMPERED: {
    sentence: 'Cannot take work: the state file "{name}" is {what}',
    remedy:
      'Find out who changed it; put it back, remove what does not belong there, have an admin accept it with "agentina-control anomaly reseal", or activate again with a fresh token and --force',
    exit: EXIT.NEGATIVE,
    retry: "never",
  },
  FINGERPRINT_MISMATCH: {
    sentence: "Cannot take work: this is not the machine that was activated ({why})",
    remedy:
      'If the hardware was changed on purpose, an admin accepts it with "agentina-control anomaly rebind" and "agentina-control anomaly recover"; if this is a copy, remove it and activate it with a token of its own',
    exit: EXIT.NEGATIVE,
    retry: "never",
  },
  FINGERPRINT_DRIFT: {
    sentence: "Cannot be sure of the machine: parts of it are not as they were at activation ({why})",
    remedy:
      'The agent works on; if the parts were changed on purpose, an admin takes them over with "agentina-control anomaly rebind"',
    exit: EXIT.NEGATIVE,
    retry: "never",
  },
  AGENT_HELD: {
    sentence: "Cannot take work: the Control Plane told this agent to {order} (since {since})",
    remedy: 'An admin lets it go on with "agentina-control agent resume"',
    exit: EXIT.NEGATIVE,
    retry: "never",
  },
  ORDER_WRONG_ISSUER: {
    sentence: 'Cannot follow the order: "{found}" issued it',
    remedy: "Look at who sent it; nothing was done",
    exit: EXIT.DATA,
    retry: "never",
  },
  ORDER_WRONG_AGENT: {
    sentence: "Cannot follow the order: it is for another agent, key or process ({found})",
    remedy: "Look at who sent it; nothing was done",
    exit: EXIT.DATA,
    retry: "never",
  },
  ORDER_WRONG_EPOCH: {
    sentence: "Cannot follow the order: it is of epoch {found} and this agent is in {expected}",
    remedy: "It is from before this agent was recovered; nothing was done",
    exit: EXIT.DATA,
    retry: "never",
  },
  ORDER_REPLAYED: {
    sentence: "Cannot follow the order: its number {found} is not above {last}, the last one taken",
    remedy: "Somebody sent it again; it was followed once",
    exit: EXIT.DATA,
    retry: "never",
  },
  ORDER_NOT_IN_TIME: {
    sentence: "Cannot follow the order: {why}",
    remedy: "Check this host's clock; the Control Plane signs an order anew each time it delivers it",
    exit: EXIT.DATA,
    retry: "never",
  },
  ORDER_NOT_APPLICABLE: {
    sentence: "Cannot follow the order: {why}",
    remedy: "Give it again when it fits the agent's state",
    exit: EXIT.DATA,
    retry: "never",
  },
} as const satisfies FaultTable;
