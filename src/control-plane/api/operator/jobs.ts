import * as v from "valibot";
import { fault } from "../../../fault/fault.ts";
import { API, JobCancelSchema, JobStateSchema } from "../../../protocol/api.ts";
import { type AccountId, JobIdSchema, newJobId, Sha256Schema } from "../../../protocol/ids.ts";
import type { BlobRef } from "../../../protocol/job.ts";
import { LIMITS } from "../../../protocol/limits.ts";
import { cancelJob } from "../../queue/cancel-job.ts";
import { jobView, summaries } from "../../queue/job-view.ts";
import { type CheckedSubmission, newJob, readSubmission } from "../../queue/submission.ts";
import { requireSecrets } from "../../secrets/keep.ts";
import { SETTINGS } from "../../settings.ts";
import { planOf } from "../../store/accounts.ts";
import { addBlob, blobSize } from "../../store/blobs.ts";
import { addJob, jobById, jobByKey, listJobs } from "../../store/jobs.ts";
import type { JobRow, Writer } from "../../store/schema.ts";
import { bodyOf, parseBody, queryNumber, requireMediaType } from "../body.ts";
import { json } from "../json.ts";
import type { Call, OperatorRoute } from "../route.ts";
import type { Services } from "../services.ts";

/** `POST /api/v1/jobs`: queues a job. With an idempotency key, the same body again is the same job. */
export const submitRoute: OperatorRoute = {
  method: "POST",
  path: API.jobs,
  who: "operator",
  body: { type: "json", limit: LIMITS.API_BODY_BYTES },
  query: [],
  handle: async ({ principal: { accountId }, services, body, nowMs }) => {
    const { store, random, wakes, log } = services;
    const checked = readSubmission(body, await planOf(store.db, accountId));
    const made = newJob(newJobId(random), accountId, checked, nowMs);
    const job = await store.write((db) => enqueue(db, accountId, made, checked));
    if (job.id === made.id) {
      log("info", "job queued", { job: job.id, kind: job.kind, priority: job.priority });
      wakes.nudge({ accountId, kind: job.kind, jobs: 1 }, nowMs, false);
    }
    return json(await jobView(store.db, job), job.id === made.id ? 201 : 200);
  },
};

async function enqueue(
  db: Writer,
  accountId: AccountId,
  made: JobRow,
  { submission, sha256 }: CheckedSubmission,
): Promise<JobRow> {
  const key = submission.idempotency_key;
  const known = key === undefined ? null : await jobByKey(db, accountId, key);
  if (known !== null && key !== undefined) {
    if (known.submission_sha256 === sha256) return known;
    throw fault("API_IDEMPOTENCY_CONFLICT", { key });
  }
  await requireBlobs(db, accountId, submission.blobs);
  await requireSecrets(db, accountId, submission);
  await addJob(db, made);
  return made;
}

async function requireBlobs(db: Writer, accountId: AccountId, blobs: readonly BlobRef[]): Promise<void> {
  for (const [index, { sha256, size }] of blobs.entries()) {
    const stored = await blobSize(db, accountId, sha256);
    const path = `blobs.${index}`;
    if (stored === null) {
      throw fault("API_BODY_MALFORMED", { path: `${path}.sha256`, why: "no such blob was uploaded" });
    }
    if (stored !== size) {
      throw fault("API_BODY_MALFORMED", { path: `${path}.size`, why: `the blob has ${stored} bytes` });
    }
  }
}

/** `GET /api/v1/jobs?limit=&state=`: newest first. */
export const jobsRoute: OperatorRoute = {
  method: "GET",
  path: API.jobs,
  who: "operator",
  body: { type: "none" },
  query: ["limit", "state"],
  handle: async ({ principal: { accountId }, services, query }) => {
    const limit = queryNumber(query["limit"], "limit", { fallback: 50, max: SETTINGS.JOBS_LISTED });
    const state = v.safeParse(v.optional(JobStateSchema), query["state"]);
    if (!state.success) {
      throw fault("API_BODY_MALFORMED", { path: "state", why: "must be the name of a job's state" });
    }
    const jobs = await listJobs(services.store.db, accountId, { state: state.output ?? null, limit });
    return json({ jobs: await summaries(services.store.db, jobs) });
  },
};

/** `GET /api/v1/jobs/<id>` */
export const jobRoute: OperatorRoute = {
  method: "GET",
  path: API.job(":id"),
  who: "operator",
  body: { type: "none" },
  query: [],
  handle: async (call) => json(await jobView(call.services.store.db, await jobOf(call, call.services))),
};

/**
 * `POST /api/v1/jobs/<id>/cancel`: a queued job is over at once. Of any other its agent is told, and the job ends with the
 * agent's receipt, or with its lease when the agent stays silent; whatever happens, nobody runs it again.
 */
export const cancelRoute: OperatorRoute = {
  method: "POST",
  path: API.jobCancel(":id"),
  who: "operator",
  body: { type: "json", limit: LIMITS.API_BODY_BYTES },
  query: [],
  handle: async (call) => {
    const { principal, services, params, body, nowMs } = call;
    const { reason } = parseBody(body, JobCancelSchema);
    const { accountId } = principal;
    const cancelled = await services.store.write(async (db) => {
      const job = await jobOf({ principal, params }, { store: { db } });
      return await cancelJob(db, job, { by: "operator", reason, nowMs });
    });
    services.log("info", "job cancelled", { job: cancelled.id, state: cancelled.state });
    services.watch.tell(cancelled.id);
    if (cancelled.state === "cancelling" && cancelled.agent_id) services.wakes.tell(cancelled.agent_id);
    const job = (await jobById(services.store.db, accountId, cancelled.id)) ?? cancelled;
    return json(await jobView(services.store.db, job));
  },
};

/** The job the path names, if it is the caller's account's. Throws API_NOT_FOUND. */
export async function jobOf(
  { principal, params }: Pick<Call<{ readonly accountId: AccountId }>, "principal" | "params">,
  { store }: { readonly store: Pick<Services["store"], "db"> },
): Promise<JobRow> {
  const id = v.safeParse(JobIdSchema, params["id"]);
  const job = id.success ? await jobById(store.db, principal.accountId, id.output) : null;
  if (job === null) throw fault("API_NOT_FOUND", { what: `the job "${params["id"] ?? ""}"` });
  return job;
}

/** `PUT /api/v1/blobs/<sha256>`: an input for jobs, kept under its digest. The same again changes nothing. */
export const uploadRoute: OperatorRoute = {
  method: "PUT",
  path: API.blob(":sha256"),
  who: "operator",
  body: { type: "stream" },
  query: [],
  handle: async ({ principal: { accountId }, services, params, request, nowMs, patience }) => {
    const named = v.safeParse(Sha256Schema, params["sha256"]);
    if (!named.success) {
      throw fault("API_BODY_MALFORMED", { path: "(path)", why: "must end in a SHA-256 in hex" });
    }
    requireMediaType(request, "application/octet-stream");
    if (Number(request.headers.get("content-length") ?? 0) > LIMITS.BLOB_BYTES) {
      throw fault("API_BODY_OVERSIZED", { limit: LIMITS.BLOB_BYTES });
    }
    patience(LIMITS.REQUEST_TIMEOUT_MS / 1000);
    const sha256 = named.output;
    const { size } = await services.blobs.receive(accountId, sha256, bodyOf(request), LIMITS.BLOB_BYTES);
    await services.store.write((db) => addBlob(db, accountId, { sha256, size, nowMs }));
    return json({ sha256, size }, 201);
  },
};
