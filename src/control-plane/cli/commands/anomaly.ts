import { EXIT } from "../../../fault/exit.ts";
import { AnomalyListSchema, type AnomalySummary, AnomalyViewSchema, API } from "../../../protocol/api.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine } from "../../../terminal/output.ts";
import { SETTINGS } from "../../settings.ts";
import { anomalyIdOf } from "../anomaly-id.ts";
import { connect, connectionArgs } from "../connection.ts";
import { numberArg } from "../number-arg.ts";
import { agoOf } from "../render-agent.ts";
import { renderAnomaly } from "../render-anomaly.ts";
import { safeLine, table } from "../text.ts";

const LIST = "agentina-control anomaly list";
const SHOW = "agentina-control anomaly show";

export const listAnomaliesCommand = command({
  meta: {
    description:
      "Lists what is wrong with agents, the latest first: copies, restored or altered state, other machines, clocks, programs nobody signed.",
    examples: [LIST, `${LIST} --state all --json`],
    trustVariables: "by-url",
  },
  args: {
    state: {
      type: "enum",
      options: ["open", "resolved", "all"],
      default: "open",
      description: "Which ones",
    },
    limit: { type: "string", valueHint: "N", default: "50", description: "At most so many" },
    ...connectionArgs,
  },
  run: async (args, terminal) => {
    const limit = numberArg(args.limit, "--limit", LIST, { min: 1, max: SETTINGS.JOBS_LISTED });
    const client = await connect(args, process.env, LIST);
    const path = `${API.anomalies}?state=${args.state}&limit=${limit}`;
    const list = await client.json({ method: "GET", path }, AnomalyListSchema);
    terminal.out(args.json ? jsonLine(list) : anomalyTable(list.anomalies));
    return EXIT.OK;
  },
});

export const showAnomalyCommand = command({
  meta: {
    description:
      "Shows what was found, and every process that spoke for the agent side by side, with what differs between them marked: that is how a copy is told from the original.",
    examples: [`${SHOW} ano_0123456789abcdefghij`],
    trustVariables: "by-url",
  },
  args: { id: { type: "positional", description: "The anomaly's id, ano_…" }, ...connectionArgs },
  run: async (args, terminal) => {
    const id = anomalyIdOf(args.id, SHOW);
    const client = await connect(args, process.env, SHOW);
    const view = await client.json({ method: "GET", path: API.anomaly(id) }, AnomalyViewSchema);
    terminal.out(args.json ? jsonLine(view) : renderAnomaly(view, Date.now()));
    return EXIT.OK;
  },
});

function anomalyTable(anomalies: readonly AnomalySummary[]): string {
  if (anomalies.length === 0) return "There are none.\n";
  const now = Date.now();
  const rows = anomalies.map((one) => [
    one.id,
    one.kind,
    one.state,
    one.agent_id,
    safeLine(one.hostname),
    String(one.count),
    agoOf(one.last_at, now),
    safeLine(one.what),
  ]);
  return table([["ANOMALY", "KIND", "STATE", "AGENT", "HOST", "TIMES", "LAST", "WHAT"], ...rows]);
}
