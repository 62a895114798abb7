import { EXIT } from "../../../fault/exit.ts";
import { AgentListSchema, type AgentView, API } from "../../../protocol/api.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine } from "../../../terminal/output.ts";
import { connect, connectionArgs } from "../connection.ts";
import { duration, safeLine, table } from "../text.ts";

const LIST = "agentina-control agent list";

export const listAgentsCommand = command({
  meta: {
    description:
      "Lists agents, newest first: the state each last told, whether it holds one of the account's slots, jobs in flight, and when it was last heard.",
    examples: [LIST, `${LIST} --json`],
    trustVariables: "by-url",
  },
  args: connectionArgs,
  run: async (args, terminal) => {
    const client = await connect(args, process.env, LIST);
    const list = await client.json({ method: "GET", path: API.agents }, AgentListSchema);
    terminal.out(args.json ? jsonLine(list) : agentTable(list.agents));
    return EXIT.OK;
  },
});

function agentTable(agents: readonly AgentView[]): string {
  if (agents.length === 0) {
    return "There are no agents yet. Mint a token: agentina-control token mint\n";
  }
  const now = Date.now();
  const rows = agents.map((agent) => [
    agent.id,
    safeLine(agent.hostname),
    agent.state ?? "not heard yet",
    agent.slot_held ? "held" : "waits",
    `${agent.in_flight}/${agent.capacity}`,
    agent.version,
    agent.last_beat_at === null ? "never" : `${duration(Math.max(0, now - agent.last_beat_at))} ago`,
  ]);
  return table([["AGENT", "HOST", "STATE", "SLOT", "JOBS", "VERSION", "HEARD"], ...rows]);
}
