import * as v from "valibot";
import { EXIT } from "../../../fault/exit.ts";
import { fault } from "../../../fault/fault.ts";
import { API } from "../../../protocol/api.ts";
import { AgentIdSchema } from "../../../protocol/ids.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine } from "../../../terminal/output.ts";
import { connect, connectionArgs } from "../connection.ts";

const CONFIRM = "agentina-control agent confirm";

export const confirmAgentCommand = command({
  meta: {
    description:
      "Confirms an agent that came back after a restore with a license the backup does not know. Until then it beats and gets no slot; look at its case first: anomaly list.",
    examples: [`${CONFIRM} agt_0123456789abcdefghij --reason "activated on Tuesday, after the backup"`],
    trustVariables: "by-url",
  },
  args: {
    id: { type: "positional", description: "The agent's id, agt_…" },
    reason: { type: "string", valueHint: "TEXT", required: true, description: "Why; kept with the case" },
    ...connectionArgs,
  },
  run: async (args, terminal) => {
    const id = v.safeParse(AgentIdSchema, args.id);
    if (!id.success) {
      const why = 'an agent\'s id is "agt_" and 20 letters and digits';
      throw fault("CLI_BAD_VALUE", { flag: "ID", value: args.id, why, command: CONFIRM });
    }
    const client = await connect(args, process.env, CONFIRM);
    const request = {
      method: "POST",
      path: API.agentConfirm(id.output),
      json: { reason: args.reason },
    } as const;
    const done = await client.json(request, v.strictObject({ id: v.string(), confirmed_at: v.number() }));
    terminal.out(args.json ? jsonLine(done) : `Agent ${done.id} is confirmed and waits for a slot.\n`);
    return EXIT.OK;
  },
});
