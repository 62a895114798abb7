import { fault } from "../../../fault/fault.ts";
import { ROUTES } from "../../../protocol/wire.ts";
import { standingOf } from "../../beat/standing.ts";
import { planOf } from "../../store/accounts.ts";
import { agentRecords } from "../../store/agents.ts";
import { heldJobs } from "../../store/jobs.ts";
import type { AgentRoute } from "../route.ts";

/** `GET /v1/wake`: an open line that says "beat now", until the access token ends. */
export const wakeRoute: AgentRoute = {
  method: "GET",
  path: ROUTES.wake,
  who: "agent",
  body: { type: "none" },
  query: [],
  proofBy: "door",
  // A quarantined agent is told as soon as an admin has decided.
  refuses: ["superseded", "ended"],
  handle: async ({ principal, services, nowMs, patience }) => {
    const { accountId, agentId, untilS } = principal;
    const { db } = services.store;
    const record = (await agentRecords(db, [{ accountId, agentId }])).get(agentId);
    if (record === undefined) throw fault("BEARER_INVALID", { why: "the agent it names is not known" });
    const plan = await planOf(db, accountId);
    const held = await heldJobs(db, [{ accountId, agentId }]);
    const standing = standingOf(record, plan, held);
    const line = services.wakes.open({ accountId, agentId, standing, untilMs: untilS * 1000 }, nowMs);
    patience(0);
    return new Response(line, {
      headers: {
        "content-type": "text/event-stream",
        "cache-control": "no-store, no-transform",
        "x-accel-buffering": "no",
      },
    });
  },
};
