import { activateRoute, tokenRoute } from "./agent/activation.ts";
import { heartbeatRoute } from "./agent/heartbeat.ts";
import { blobRoute, logRoute } from "./agent/job-files.ts";
import { wakeRoute } from "./agent/wake.ts";
import { agentsRoute, changePlanRoute, mintRoute, planRoute, revokeRoute } from "./operator/fleet.ts";
import { jobLogRoute } from "./operator/job-log.ts";
import { jobRoute, jobsRoute, submitRoute, uploadRoute } from "./operator/jobs.ts";
import { healthRoute, installerRoute, readyRoute, trustRoute } from "./public.ts";
import type { Route } from "./route.ts";

/** Every route there is. */
export const ROUTE_TABLE: readonly Route[] = [
  healthRoute,
  readyRoute,
  installerRoute,
  trustRoute,

  activateRoute,
  tokenRoute,
  heartbeatRoute,
  wakeRoute,
  blobRoute,
  logRoute,

  planRoute,
  changePlanRoute,
  mintRoute,
  revokeRoute,
  agentsRoute,
  submitRoute,
  jobsRoute,
  jobRoute,
  jobLogRoute,
  uploadRoute,
];
