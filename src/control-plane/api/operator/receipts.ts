import * as v from "valibot";
import { fault } from "../../../fault/fault.ts";
import { API } from "../../../protocol/api.ts";
import { AgentIdSchema } from "../../../protocol/ids.ts";
import { exportHeader, exportLines } from "../../receipts/export.ts";
import { agentById } from "../../store/agents.ts";
import { queryNumber } from "../body.ts";
import { json } from "../json.ts";
import type { OperatorRoute } from "../route.ts";

/**
 * `GET /api/v1/agents/<id>/receipts?since=&until=`: what an export is made of, a page at a time. `until` is the last number
 * of the first page's header, so that all pages are of one export.
 */
export const receiptsRoute: OperatorRoute = {
  method: "GET",
  path: API.agentReceipts(":id"),
  who: "operator",
  body: { type: "none" },
  query: ["since", "until"],
  handle: async ({ principal: { accountId }, services, params, query }) => {
    const max = Number.MAX_SAFE_INTEGER;
    const since = queryNumber(query["since"], "since", { fallback: 1, max });
    const until = queryNumber(query["until"], "until", { fallback: max, max });
    const id = v.safeParse(AgentIdSchema, params["id"]);
    const { db } = services.store;
    const agent = id.success ? await agentById(db, accountId, id.output) : null;
    if (agent === null) throw fault("API_NOT_FOUND", { what: `the agent "${params["id"] ?? ""}"` });
    const header = await exportHeader(db, agent, since, services.keys);
    const last = Math.min(until, header.range?.last ?? 0);
    const lines = await exportLines(db, { accountId, agentId: agent.id }, { since, until: last });
    return json({ header, lines });
  },
};
