import * as v from "valibot";
import { fault } from "../../../fault/fault.ts";
import { type AgentOrderRequest, AgentOrderRequestSchema, API } from "../../../protocol/api.ts";
import { type AccountId, type AgentId, AgentIdSchema } from "../../../protocol/ids.ts";
import { LIMITS } from "../../../protocol/limits.ts";
import {
  giveOrder,
  giveQuarantine,
  giveTerminate,
  type OrderGiven,
  requireAgent,
} from "../../orders/give-order.ts";
import type { Given } from "../../orders/new-order.ts";
import { agentView, orderView } from "../../orders/order-view.ts";
import { type AgentRecord, agentRecords, listAgents } from "../../store/agents.ts";
import { openAnomalyCounts, recordFinding } from "../../store/anomalies.ts";
import { lastOrders, openOrders, openOrdersOf } from "../../store/orders.ts";
import type { AgentRow, Reader, Writer } from "../../store/schema.ts";
import { parseBody } from "../body.ts";
import { json } from "../json.ts";
import type { OperatorRoute } from "../route.ts";
import type { Services } from "../services.ts";

/** `GET /api/v1/agents`: the fleet, newest first, with what each was told and has not taken yet. */
export const agentsRoute: OperatorRoute = {
  method: "GET",
  path: API.agents,
  who: "operator",
  body: { type: "none" },
  query: [],
  handle: async ({ principal: { accountId }, services }) => {
    const { db } = services.store;
    const records = await listAgents(db, accountId);
    const open = await openOrdersOf(db, accountId);
    const anomalies = await openAnomalyCounts(db, accountId);
    return json({
      agents: records.map((record) => agentView(record, open, anomalies.get(record.agent.id) ?? 0)),
    });
  },
};

/** `GET /api/v1/agents/<id>`: one agent and the orders last given to it. */
export const agentRoute: OperatorRoute = {
  method: "GET",
  path: API.agent(":id"),
  who: "operator",
  body: { type: "none" },
  query: [],
  handle: async ({ principal: { accountId }, params, services }) => {
    const id = agentIdOf(params["id"]);
    const { db } = services.store;
    const orders = await lastOrders(db, accountId, id);
    return json({ agent: await agentViewOf(db, accountId, id), orders: orders.map(orderView) });
  },
};

/** `POST /api/v1/agents/<id>/orders`: tells an agent to drain, stop, resume, be quarantined or end. */
export const orderRoute: OperatorRoute = {
  method: "POST",
  path: API.agentOrders(":id"),
  who: "operator",
  body: { type: "json", limit: LIMITS.API_BODY_BYTES },
  query: [],
  handle: async ({ principal: { accountId }, params, services, body, nowMs }) => {
    const request = parseBody(body, AgentOrderRequestSchema);
    const id = agentIdOf(params["id"]);
    const { store, wakes, watch, log } = services;
    const given: Given = { by: "operator", reason: request.reason, nowMs };
    const made = await store.write(async (db) => {
      return await give(db, await requireAgent(db, accountId, id), request, given, services);
    });
    log("info", "order given", { agent: id, order: made.order.type, seq: made.order.seq, by: given.by });
    wakes.tell(id);
    if (made.order.type === "quarantine" || made.order.type === "terminal") wakes.tellWaiting(accountId);
    for (const job of made.withdrawn) {
      watch.tell(job.id);
      if (job.state === "queued") wakes.nudge({ accountId, kind: job.kind, jobs: 1 }, nowMs, false);
    }
    const orders = await lastOrders(store.db, accountId, id);
    return json({ agent: await agentViewOf(store.db, accountId, id), orders: orders.map(orderView) });
  },
};

async function give(
  db: Writer,
  record: AgentRecord,
  request: AgentOrderRequest,
  given: Given,
  services: Services,
): Promise<OrderGiven> {
  const { agent } = record;
  switch (request.order) {
    case "drain":
    case "resume":
      return await giveOrder(db, agent, { type: request.order }, given);
    case "stop":
      return await giveOrder(db, agent, { type: "stop", grace_s: request.grace_s }, given);
    case "quarantine": {
      const made = await giveQuarantine(db, record, given);
      if (agent.quarantined_at !== null) return made;
      // The way out is the same as for one the server has found out: a case that is closed by a recovery.
      await recordFinding(db, caseOf(made.agent, given), services.random);
      return made;
    }
    case "terminate": {
      const made = await giveTerminate(db, agent, request.grace_s, given);
      const whose = { account: agent.account_id, agent: agent.id, jkt: agent.jkt } as const;
      if (agent.terminated_at === null) {
        services.ledger.append({ type: "agent_ended", ...whose }, given.nowMs);
      }
      return made;
    }
  }
}

const caseOf = (agent: AgentRow, { reason, nowMs }: Given) => ({
  accountId: agent.account_id,
  agentId: agent.id,
  epoch: agent.epoch,
  kind: "operator_quarantine" as const,
  evidence: { what: `an operator quarantined it: ${reason}` },
  nowMs,
});

/** One agent as it is shown. Throws API_NOT_FOUND. */
export async function agentViewOf(db: Reader, accountId: AccountId, agentId: AgentId) {
  const wanted = [{ accountId, agentId }];
  const record = (await agentRecords(db, wanted)).get(agentId);
  if (record === undefined) throw fault("API_NOT_FOUND", { what: `the agent "${agentId}"` });
  const anomalies = await openAnomalyCounts(db, accountId);
  return agentView(record, await openOrders(db, wanted), anomalies.get(agentId) ?? 0);
}

/** An agent's id from a path. Throws API_NOT_FOUND. */
export function agentIdOf(text: string | undefined): AgentId {
  const id = v.safeParse(AgentIdSchema, text);
  if (!id.success) throw fault("API_NOT_FOUND", { what: `the agent "${text ?? ""}"` });
  return id.output;
}
