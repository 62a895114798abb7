import { API, JOB_LOG_HEADERS } from "../../../protocol/api.ts";
import { LIMITS } from "../../../protocol/limits.ts";
import { sha256Of } from "../../../trust/strict-jws.ts";
import { SETTINGS } from "../../settings.ts";
import { logRow, MAIN_STREAM } from "../../store/logs.ts";
import type { JobRow } from "../../store/schema.ts";
import { queryNumber } from "../body.ts";
import type { OperatorRoute } from "../route.ts";
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
    const { services, query, request, nowMs, patience } = call;
    const offset = queryNumber(query["offset"], "offset", { fallback: 0, max: LIMITS.JOB_OUTPUT_BYTES * 2 });
    const waitS = queryNumber(query["wait_s"], "wait_s", { fallback: 0, max: SETTINGS.LONG_POLL_S });
    const until = nowMs + waitS * 1000;
    if (waitS > 0) patience(waitS + LIMITS.REQUEST_TIMEOUT_MS / 1000);
    const ended = AbortSignal.any([request.signal, services.stopping]);
    let job = await jobOf(call, services);
    for (;;) {
      services.watch.noteReader(job.id, services.nowMs());
      // Asked for before the row is read, so that what comes in between is not missed.
      const wait = new AbortController();
      const news = services.watch.next(job.id, Math.max(0, until - services.nowMs()), AbortSignal.any([ended, wait.signal]));
      job = await jobOf(call, services);
      const stored = await storedBytes(job);
      const cursor = cursorOf(job);
      const told = stored > offset || (query["seen"] !== undefined && query["seen"] !== cursor);
      if (told || services.nowMs() >= until || ended.aborted) {
        wait.abort();
        return await answer(job, cursor, stored);
      }
      await news;
    }

    async function storedBytes({ id, attempt, account_id }: JobRow): Promise<number> {
      const row = await logRow(services.store.db, account_id, { job: id, attempt, stream: MAIN_STREAM });
      return row?.size ?? 0;
    }

    async function answer(row: JobRow, cursor: string, stored: number): Promise<Response> {
      const { id, attempt, account_id: account, state } = row;
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
  },
};

/** Says how a job stands in a word that differs when any of it does. */
const cursorOf = ({ state, attempt, step, outcome }: JobRow): string =>
  sha256Of(JSON.stringify([state, attempt, step, outcome])).slice(0, 16);
