import { activateRoute, tokenRoute } from "./agent/activation.ts";
import { heartbeatRoute } from "./agent/heartbeat.ts";
import { blobRoute, logRoute } from "./agent/job-files.ts";
import { readmitRoute } from "./agent/readmit.ts";
import { rekeyRoute } from "./agent/rekey.ts";
import { wakeRoute } from "./agent/wake.ts";
import { agentRoute, agentsRoute, orderRoute } from "./operator/agents.ts";
import {
  anomaliesRoute,
  anomalyRoute,
  rebindRoute,
  recoverRoute,
  resealRoute,
  resolveRoute,
} from "./operator/anomalies.ts";
import { confirmAgentRoute } from "./operator/confirm-agent.ts";
import { changePlanRoute, mintRoute, planRoute, revokeRoute } from "./operator/fleet.ts";
import { jobLogRoute } from "./operator/job-log.ts";
import { cancelRoute, jobRoute, jobsRoute, submitRoute, uploadRoute } from "./operator/jobs.ts";
import {
  installKeysRoute,
  keysRoute,
  requestKeysRoute,
  revokeKeyRoute,
  rotateKeysRoute,
} from "./operator/keys.ts";
import { receiptsRoute } from "./operator/receipts.ts";
import { putSecretRoute, removeSecretRoute, secretsRoute } from "./operator/secrets.ts";
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
  readmitRoute,
  heartbeatRoute,
  rekeyRoute,
  wakeRoute,
  blobRoute,
  logRoute,

  planRoute,
  changePlanRoute,
  mintRoute,
  revokeRoute,
  agentsRoute,
  agentRoute,
  orderRoute,
  anomaliesRoute,
  anomalyRoute,
  recoverRoute,
  rebindRoute,
  resealRoute,
  resolveRoute,
  submitRoute,
  jobsRoute,
  jobRoute,
  cancelRoute,
  jobLogRoute,
  uploadRoute,
  secretsRoute,
  putSecretRoute,
  removeSecretRoute,
  confirmAgentRoute,
  receiptsRoute,
  keysRoute,
  rotateKeysRoute,
  revokeKeyRoute,
  requestKeysRoute,
  installKeysRoute,
];
