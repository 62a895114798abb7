import { EXIT } from "../../../fault/exit.ts";
import { AgentDetailSchema, AgentListSchema, type AgentView, API } from "../../../protocol/api.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine } from "../../../terminal/output.ts";
import { agentIdOf } from "../agent-id.ts";
import { connect, connectionArgs } from "../connection.ts";
import { agoOf, openOrdersText, renderAgent } from "../render-agent.ts";
import { safeLine, table } from "../text.ts";

const LIST = "agentina-control agent list";
const SHOW = "agentina-control agent show";

export const listAgentsCommand = command({
  meta: {
    description:
      "Lists agents, newest first: how each stands (quarantined, ended and unconfirmed ones as such, others as they last told), whether it holds one of the account's slots, jobs in flight, when it was last heard, and the orders it has not taken yet.",
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

export const showAgentCommand = command({
  meta: {
    description: "Shows one agent: how it stands, and the orders last given to it.",
    examples: [`${SHOW} agt_0123456789abcdefghij`, `${SHOW} agt_0123456789abcdefghij --json`],
    trustVariables: "by-url",
  },
  args: { id: { type: "positional", description: "The agent's id, agt_…" }, ...connectionArgs },
  run: async (args, terminal) => {
    const id = agentIdOf(args.id, SHOW);
    const client = await connect(args, process.env, SHOW);
    const detail = await client.json({ method: "GET", path: API.agent(id) }, AgentDetailSchema);
    terminal.out(args.json ? jsonLine(detail) : renderAgent(detail, Date.now()));
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
    agent.standing === "live" ? (agent.state ?? "not heard yet") : agent.standing,
    agent.slot_held ? "held" : agent.standing === "live" ? "waits" : "none",
    `${agent.in_flight}/${agent.capacity}`,
    agent.version,
    agoOf(agent.last_beat_at, now),
    openOrdersText(agent),
  ]);
  return table([["AGENT", "HOST", "STATE", "SLOT", "JOBS", "VERSION", "HEARD", "TO BE TOLD"], ...rows]);
}
