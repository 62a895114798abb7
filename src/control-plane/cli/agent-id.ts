import * as v from "valibot";
import { fault } from "../../fault/fault.ts";
import { type AgentId, AgentIdSchema } from "../../protocol/ids.ts";

/** An agent's id as typed. Throws CLI_BAD_VALUE. */
export function agentIdOf(value: string, command: string): AgentId {
  const id = v.safeParse(AgentIdSchema, value);
  if (id.success) return id.output;
  const why = 'an agent\'s id is "agt_" and 20 letters and digits';
  throw fault("CLI_BAD_VALUE", { flag: "ID", value, why, command });
}
