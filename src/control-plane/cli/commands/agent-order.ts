import { EXIT } from "../../../fault/exit.ts";
import { AgentDetailSchema, type AgentOrderRequest, API } from "../../../protocol/api.ts";
import { LIMITS } from "../../../protocol/limits.ts";
import { type Command, command } from "../../../terminal/command.ts";
import { jsonLine, type Terminal } from "../../../terminal/output.ts";
import { agentIdOf } from "../agent-id.ts";
import { type ConnectionArgs, connect, connectionArgs } from "../connection.ts";
import { renderAgent } from "../render-agent.ts";
import { duration, secondsArg } from "../text.ts";

const idArg = { id: { type: "positional", description: "The agent's id, agt_…" } } as const;
const reasonArg = {
  reason: {
    type: "string",
    valueHint: "TEXT",
    required: true,
    description: "Why; kept with the order",
  },
} as const;
const graceArg = {
  grace: {
    type: "string",
    valueHint: "TIME",
    default: `${LIMITS.STOP_GRACE_S}s`,
    description: "How long running jobs may go on: 0s to 24h",
  },
} as const;

interface Asked extends ConnectionArgs {
  readonly id: string;
  readonly json: boolean;
}

async function tell(
  args: Asked,
  terminal: Terminal,
  title: string,
  request: AgentOrderRequest,
  said: string,
) {
  const id = agentIdOf(args.id, title);
  const client = await connect(args, process.env, title);
  const made = await client.json(
    { method: "POST", path: API.agentOrders(id), json: request },
    AgentDetailSchema,
  );
  terminal.out(args.json ? jsonLine(made) : `${said}\n\n${renderAgent(made, Date.now())}`);
  return EXIT.OK;
}

/** `drain`, `resume`, `quarantine`: an order that needs a reason and nothing else. */
function plainOrder(
  order: "drain" | "resume" | "quarantine",
  description: string,
  said: string,
  why: string,
): Command {
  const title = `agentina-control agent ${order}`;
  return command({
    meta: {
      description,
      examples: [`${title} agt_0123456789abcdefghij --reason "${why}"`],
      trustVariables: "by-url",
    },
    args: { ...idArg, ...reasonArg, ...connectionArgs },
    run: (args, terminal) => tell(args, terminal, title, { order, reason: args.reason }, said),
  });
}

/** `stop`, `terminate`: with a time for what runs. */
function gracefulOrder(order: "stop" | "terminate", description: string, said: string): Command {
  const title = `agentina-control agent ${order}`;
  return command({
    meta: {
      description,
      examples: [`${title} agt_0123456789abcdefghij --reason "host goes away" --grace 5m`],
      trustVariables: "by-url",
    },
    args: { ...idArg, ...reasonArg, ...graceArg, ...connectionArgs },
    run: (args, terminal) => {
      const bounds = { min: 0, max: LIMITS.ORDER_GRACE_S };
      const grace_s = secondsArg(args.grace, "--grace", title, bounds);
      const request = { order, reason: args.reason, grace_s };
      return tell(args, terminal, title, request, `${said} Running jobs get ${duration(grace_s * 1000)}.`);
    },
  });
}

export const drainCommand = plainOrder(
  "drain",
  "Tells an agent to take nothing new and let running jobs end. It goes on beating, until told to resume.",
  "The agent is told to drain with its next heartbeat.",
  "new disk",
);

export const resumeCommand = plainOrder(
  "resume",
  "Tells an agent that was drained or stopped to take work again.",
  "The agent is told to resume with its next heartbeat.",
  "the new disk is in",
);

export const quarantineCommand = plainOrder(
  "quarantine",
  'Stops an agent at once: it gets no jobs from this moment on, and cancels what runs when it hears of it. The way back is "agentina-control anomaly recover".',
  "The agent is quarantined.",
  "a job wrote outside its workspace",
);

export const stopCommand = gracefulOrder(
  "stop",
  "Tells an agent to take nothing new, and to cancel what still runs after a while. It goes on beating, until told to resume.",
  "The agent is told to stop with its next heartbeat.",
);

export const terminateCommand = gracefulOrder(
  "terminate",
  "Ends an agent for good: it delivers what it owes, exits, and never comes back under this id. Its host can be activated again with a fresh token.",
  "The agent is told with its next heartbeat that it has ended.",
);
