import * as v from "valibot";
import { fault } from "../../../fault/fault.ts";
import { AnomalyReasonSchema, API } from "../../../protocol/api.ts";
import { AgentIdSchema } from "../../../protocol/ids.ts";
import { LIMITS } from "../../../protocol/limits.ts";
import { resolveAnomalies } from "../../store/anomalies.ts";
import { confirmAgent } from "../../store/readmission.ts";
import { parseBody } from "../body.ts";
import { json } from "../json.ts";
import type { OperatorRoute } from "../route.ts";

/** `POST /api/v1/agents/<id>/confirm`: an agent taken back after a restore is one of ours; it may have a slot. */
export const confirmAgentRoute: OperatorRoute = {
  method: "POST",
  path: API.agentConfirm(":id"),
  who: "operator",
  body: { type: "json", limit: LIMITS.API_BODY_BYTES },
  query: [],
  handle: async ({ principal: { accountId }, services, params, body, nowMs }) => {
    const { reason } = parseBody(body, AnomalyReasonSchema);
    const id = v.safeParse(AgentIdSchema, params["id"]);
    const missing = fault("API_NOT_FOUND", {
      what: `an agent "${params["id"] ?? ""}" that waits to be confirmed`,
    });
    if (!id.success) throw missing;
    const agentId = id.output;
    const done = await services.store.write(async (db) => {
      if (!(await confirmAgent(db, accountId, agentId, nowMs))) return false;
      const how = { by: "operator", resolution: `confirmed: ${reason}`, nowMs };
      await resolveAnomalies(db, { accountId, agentId, kinds: ["unknown_agent"] }, how);
      return true;
    });
    if (!done) throw missing;
    services.log("info", "agent confirmed", { agent: agentId, reason });
    services.wakes.tell(agentId);
    return json({ id: agentId, confirmed_at: nowMs });
  },
};
