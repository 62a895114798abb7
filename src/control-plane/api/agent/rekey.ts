import { LIMITS } from "../../../protocol/limits.ts";
import { RekeyRequestSchema, ROUTES } from "../../../protocol/wire.ts";
import { rekey } from "../../activation/rekey.ts";
import { parseBody } from "../body.ts";
import { json } from "../json.ts";
import type { AgentRoute } from "../route.ts";

/** `POST /v1/rekey`: a quarantined agent that an admin has picked gets a new key. */
export const rekeyRoute: AgentRoute = {
  method: "POST",
  path: ROUTES.rekey,
  who: "agent",
  body: { type: "json", limit: LIMITS.ACTIVATE_BODY_BYTES },
  query: [],
  proofBy: "handler",
  // An answer that was lost is given again to the key it has retired; that is judged with the rest.
  refuses: [],
  handle: async ({ principal, body, services, nowMs }) => {
    const request = parseBody(body, RekeyRequestSchema);
    return json(await rekey(request, principal, services, nowMs));
  },
};
