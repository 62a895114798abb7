import * as v from "valibot";
import { fault } from "../../../fault/fault.ts";
import { JobIdSchema, type Sha256, Sha256Schema } from "../../../protocol/ids.ts";
import type { BlobRef } from "../../../protocol/job.ts";
import { LIMITS } from "../../../protocol/limits.ts";
import type { AgentPrincipal } from "../../auth/principal.ts";
import { appendLog } from "../../logs/append-log.ts";
import { heldJobs } from "../../store/jobs.ts";
import { MAIN_STREAM } from "../../store/logs.ts";
import { queryNumber } from "../body.ts";
import { json } from "../json.ts";
import type { AgentRoute } from "../route.ts";
import type { Services } from "../services.ts";

/** `GET /v1/blobs/<sha256>`: an input of a job the agent holds. Any other blob is not there for it. */
export const blobRoute: AgentRoute = {
  method: "GET",
  path: "/v1/blobs/:sha256",
  who: "agent",
  body: { type: "none" },
  query: [],
  proofBy: "door",
  refuses: ["superseded", "quarantined", "ended"],
  handle: async ({ principal, params, services, patience }) => {
    const sha256 = v.safeParse(Sha256Schema, params["sha256"]);
    if (!sha256.success || !(await isInput(sha256.output, principal, services))) {
      throw fault("API_NOT_FOUND", { what: "such an input of a job this agent holds" });
    }
    const file = Bun.file(services.blobs.pathOf(principal.accountId, sha256.output));
    if (!(await file.exists())) throw fault("API_NOT_FOUND", { what: "the input's bytes" });
    patience(LIMITS.REQUEST_TIMEOUT_MS / 1000);
    return new Response(file, { headers: { "content-type": "application/octet-stream" } });
  },
};

async function isInput(sha256: Sha256, agent: AgentPrincipal, { store }: Services): Promise<boolean> {
  const held = await heldJobs(store.db, [agent]);
  return held.some((job) => (JSON.parse(job.blobs) as BlobRef[]).some((blob) => blob.sha256 === sha256));
}

/** `PUT /v1/jobs/<jti>/<attempt>/log?stream=&offset=`: the next bytes of a log, as it grows. */
export const logRoute: AgentRoute = {
  method: "PUT",
  path: "/v1/jobs/:jti/:attempt/log",
  who: "agent",
  body: { type: "bytes", limit: LIMITS.LOG_CHUNK_BYTES },
  query: ["stream", "offset"],
  proofBy: "door",
  // What an agent still owes when it ends is taken; of a quarantined one nobody knows who writes.
  refuses: ["superseded", "quarantined"],
  handle: async ({ principal, params, query, body, services, nowMs }) => {
    const job = v.safeParse(JobIdSchema, params["jti"]);
    const attempt = /^[1-9]\d{0,8}$/.test(params["attempt"] ?? "") ? Number(params["attempt"]) : null;
    if (!job.success || attempt === null) throw fault("API_NOT_FOUND", { what: "such an attempt" });
    if (query["stream"] !== MAIN_STREAM) {
      throw fault("API_BODY_MALFORMED", { path: "stream", why: `must be "${MAIN_STREAM}"` });
    }
    if (query["offset"] === undefined) {
      throw fault("API_BODY_MALFORMED", { path: "offset", why: "is missing" });
    }
    const offset = queryNumber(query["offset"], "offset", { fallback: 0, max: LIMITS.JOB_OUTPUT_BYTES * 2 });
    const key = { job: job.output, attempt, stream: MAIN_STREAM };
    const stored = await appendLog(principal, key, { offset, bytes: body }, services);
    return json({ stored, watched: services.watch.isRead(job.output, nowMs) });
  },
};
