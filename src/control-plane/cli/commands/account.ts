import { EXIT } from "../../../fault/exit.ts";
import { API, type Plan, PlanSchema } from "../../../protocol/api.ts";
import { LIMITS } from "../../../protocol/limits.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine } from "../../../terminal/output.ts";
import { connect, connectionArgs } from "../connection.ts";
import { numberArg } from "../number-arg.ts";

const PLAN = "agentina-control account plan";

export const planCommand = command({
  meta: {
    description:
      "Shows what the account may run. With numbers it changes them: licenses follow with the agents' next heartbeats, running jobs are left alone. Agents beyond the number wait for a slot.",
    examples: [PLAN, `${PLAN} --max-agents 20 --max-concurrent 4`],
    trustVariables: "by-url",
  },
  args: {
    "max-agents": { type: "string", valueHint: "N", description: "Agents that get jobs" },
    "max-concurrent": { type: "string", valueHint: "N", description: "Jobs at once on one agent" },
    ...connectionArgs,
  },
  run: async (args, terminal) => {
    const change = changeOf(args["max-agents"], args["max-concurrent"]);
    const client = await connect(args, process.env, PLAN);
    const request =
      Object.keys(change).length === 0
        ? ({ method: "GET", path: API.accountPlan } as const)
        : ({ method: "PUT", path: API.accountPlan, json: change } as const);
    const plan = await client.json(request, PlanSchema);
    terminal.out(args.json ? jsonLine(plan) : planText(plan));
    return EXIT.OK;
  },
});

function changeOf(maxAgents: string | undefined, maxConcurrent: string | undefined) {
  const agents = { min: 1, max: 1_000_000 };
  const tasks = { min: 1, max: LIMITS.MAX_CONCURRENT_TASKS };
  return {
    ...(maxAgents === undefined ? {} : { max_agents: numberArg(maxAgents, "--max-agents", PLAN, agents) }),
    ...(maxConcurrent === undefined
      ? {}
      : { max_concurrent_tasks_per_agent: numberArg(maxConcurrent, "--max-concurrent", PLAN, tasks) }),
  };
}

const planText = ({ name, max_agents, max_concurrent_tasks_per_agent, kinds }: Plan): string =>
  `Plan "${name}": ${max_agents} agents, ${max_concurrent_tasks_per_agent} jobs at once on each, kinds ${kinds.join(", ")}\n`;
