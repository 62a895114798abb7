import { API, JOB_LOG_HEADERS } from "../../../protocol/api.ts";
import { LIMITS } from "../../../protocol/limits.ts";
import { sha256Of } from "../../../trust/strict-jws.ts";
import type { OperatorPrincipal } from "../../auth/principal.ts";
import { SETTINGS } from "../../settings.ts";
import { logRow, MAIN_STREAM } from "../../store/logs.ts";
import type { JobRow, LogRow } from "../../store/schema.ts";
import { queryNumber } from "../body.ts";
import type { Call, OperatorRoute } from "../route.ts";
import type { Services } from "../services.ts";
import { jobOf } from "./jobs.ts";

/**
 * `GET /api/v1/jobs/<id>/log?offset=&wait_s=&seen=`: the log of the current attempt from a byte on. With `wait_s` the
 * answer waits until there is more, or until the job stands otherwise than `seen` says.
 */
export const jobLogRoute: OperatorRoute = {
  method: "GET",
  path: API.jobLog(":id"),
  who: "operator",
  body: { type: "none" },
  query: ["offset", "wait_s", "seen"],
  handle: async (call) => {
    const { query, request, services, nowMs, patience } = call;
    const max = LIMITS.JOB_OUTPUT_BYTES * 2;
    const offset = queryNumber(query["offset"], "offset", { fallback: 0, max });
    const waitS = queryNumber(query["wait_s"], "wait_s", { fallback: 0, max: SETTINGS.LONG_POLL_S });
    if (waitS > 0) patience(waitS + LIMITS.REQUEST_TIMEOUT_MS / 1000);
    const until = nowMs + waitS * 1000;
    const ended = AbortSignal.any([request.signal, services.stopping]);
    for (;;) {
      // Listening begins before the rows are read, so that what comes in between is not missed.
      const read = new AbortController();
      const leftMs = Math.max(0, until - services.nowMs());
      const jobId = (await jobOf(call, services)).id;
      const news = services.watch.next(jobId, leftMs, AbortSignal.any([ended, read.signal]));
      const found = await lookAt(call);
      const isNews = found.stored > offset || (query["seen"] ?? found.cursor) !== found.cursor;
      if (isNews || leftMs === 0 || ended.aborted) {
        read.abort();
        return await answer(found, offset, services);
      }
      await news;
    }
  },
};

interface Found {
  readonly job: JobRow;
  readonly stored: number;
  readonly cursor: string;
}

async function lookAt(call: Call<OperatorPrincipal>): Promise<Found> {
  const { services } = call;
  const job = await jobOf(call, services);
  services.watch.noteReader(job.id, services.nowMs());
  const key = { job: job.id, attempt: job.attempt, stream: MAIN_STREAM };
  const log = await logRow(services.store.db, job.account_id, key);
  return { job, stored: log?.size ?? 0, cursor: cursorOf(job, log) };
}

async function answer({ job, stored, cursor }: Found, offset: number, services: Services): Promise<Response> {
  const { id, attempt, account_id: account, state } = job;
  const name = { account, job: id, attempt, stream: MAIN_STREAM };
  const length = Math.min(stored - offset, SETTINGS.LOG_READ_BYTES);
  return new Response(await services.logs.read(name, offset, length), {
    headers: {
      "content-type": "application/octet-stream",
      [JOB_LOG_HEADERS.attempt]: String(attempt),
      [JOB_LOG_HEADERS.state]: state,
      [JOB_LOG_HEADERS.cursor]: cursor,
    },
  });
}

/** Says how a job stands in a word that differs when any of it does. */
const cursorOf = ({ state, attempt, step, outcome }: JobRow, log: LogRow | null): string =>
  sha256Of(JSON.stringify([state, attempt, step, outcome, log?.verified ?? null])).slice(0, 16);
