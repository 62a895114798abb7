import * as v from "valibot";
import { fault } from "../../../fault/fault.ts";
import {
  type AnomalyAct,
  AnomalyReasonSchema,
  API,
  RebindRequestSchema,
  RecoverRequestSchema,
} from "../../../protocol/api.ts";
import type { AccountId } from "../../../protocol/ids.ts";
import { LIMITS } from "../../../protocol/limits.ts";
import { actOn } from "../../anomalies/act.ts";
import { anomalySummary, anomalyView } from "../../anomalies/anomaly-view.ts";
import { SETTINGS } from "../../settings.ts";
import { agentRecords } from "../../store/agents.ts";
import { anomalyById, listAnomalies } from "../../store/anomalies.ts";
import type { AnomalyRow, Reader } from "../../store/schema.ts";
import { parseBody, queryNumber } from "../body.ts";
import { json } from "../json.ts";
import type { OperatorRoute } from "../route.ts";

const StateSchema = v.picklist(["open", "resolved", "all"]);

/** `GET /api/v1/anomalies?state=&limit=`: what is open, the one last seen first. */
export const anomaliesRoute: OperatorRoute = {
  method: "GET",
  path: API.anomalies,
  who: "operator",
  body: { type: "none" },
  query: ["state", "limit"],
  handle: async ({ principal: { accountId }, services, query }) => {
    const limit = queryNumber(query["limit"], "limit", { fallback: 50, max: SETTINGS.JOBS_LISTED });
    const state = v.safeParse(StateSchema, query["state"] ?? "open");
    if (!state.success) {
      throw fault("API_BODY_MALFORMED", { path: "state", why: "must be open, resolved or all" });
    }
    const { db } = services.store;
    const filter = { state: state.output === "all" ? null : state.output, limit };
    const rows = await listAnomalies(db, accountId, filter);
    const wanted = rows.map(({ agent_id }) => ({ accountId, agentId: agent_id }));
    const records = wanted.length === 0 ? new Map() : await agentRecords(db, wanted);
    const hostnameOf = (row: AnomalyRow): string => records.get(row.agent_id)?.agent.hostname ?? "";
    return json({ anomalies: rows.map((row) => anomalySummary(row, hostnameOf(row))) });
  },
};

/** `GET /api/v1/anomalies/<id>`: one case with its evidence. */
export const anomalyRoute: OperatorRoute = {
  method: "GET",
  path: API.anomaly(":id"),
  who: "operator",
  body: { type: "none" },
  query: [],
  handle: async ({ principal: { accountId }, services, params }) => {
    const { db } = services.store;
    return json(await viewOf(db, await requireAnomaly(db, accountId, params["id"])));
  },
};

/** `POST /api/v1/anomalies/<id>/recover`: one process of the quarantined agent goes on with new keys. */
export const recoverRoute = actRoute("recover", RecoverRequestSchema);
/** `POST /api/v1/anomalies/<id>/rebind`: the machine a process last showed becomes the enrolled one. */
export const rebindRoute = actRoute("rebind", RebindRequestSchema);
/** `POST /api/v1/anomalies/<id>/reseal`: the agent takes its state files as they are. */
export const resealRoute = actRoute("reseal", AnomalyReasonSchema);
/** `POST /api/v1/anomalies/<id>/resolve`: an alarm that somebody has looked at. */
export const resolveRoute = actRoute("resolve", AnomalyReasonSchema);

interface ActRequest {
  readonly reason: string;
  readonly inst?: string | undefined;
  readonly rebind?: boolean;
}

function actRoute(act: AnomalyAct, schema: v.GenericSchema<unknown, ActRequest>): OperatorRoute {
  return {
    method: "POST",
    path: API.anomalyAct(":id", act),
    who: "operator",
    body: { type: "json", limit: LIMITS.API_BODY_BYTES },
    query: [],
    handle: async ({ principal: { accountId }, services, params, body, nowMs }) => {
      const { reason, inst = null, rebind = false } = parseBody(body, schema);
      const { store, wakes, log } = services;
      const row = await requireAnomaly(store.db, accountId, params["id"]);
      const given = { by: "operator", reason, nowMs } as const;
      const meant = await store.write(async (db) => {
        const now = await requireAnomaly(db, accountId, row.id);
        return await actOn(db, now, { act, inst, rebind, given });
      });
      log("info", `anomaly ${act}`, { anomaly: row.id, agent: row.agent_id, inst: meant });
      wakes.tell(row.agent_id);
      return json(await viewOf(store.db, await requireAnomaly(store.db, accountId, row.id)));
    },
  };
}

/** Throws API_NOT_FOUND. */
async function requireAnomaly(db: Reader, accountId: AccountId, id: string | undefined): Promise<AnomalyRow> {
  const row = id === undefined ? null : await anomalyById(db, accountId, id);
  if (row === null) throw fault("API_NOT_FOUND", { what: `the anomaly "${id ?? ""}"` });
  return row;
}

async function viewOf(db: Reader, row: AnomalyRow) {
  const wanted = { accountId: row.account_id, agentId: row.agent_id };
  const record = (await agentRecords(db, [wanted])).get(row.agent_id);
  if (record === undefined) throw fault("API_NOT_FOUND", { what: `the agent "${row.agent_id}"` });
  return await anomalyView(db, row, record);
}
