import type { Fault } from "../../fault/fault.ts";
import type { FaultCode } from "../../fault/registry.ts";
import type { Problem } from "../../protocol/wire.ts";

/** HTTP status of each code a route may answer; any other is our own failure, 500. */
const STATUS: Readonly<Partial<Record<FaultCode, number>>> = {
  API_UNAUTHENTICATED: 401,
  API_NOT_FOUND: 404,
  INSTALLER_NOT_PUBLISHED: 404,
  API_BODY_MALFORMED: 400,
  API_BODY_OVERSIZED: 413,
  API_MEDIA_TYPE: 415,
  API_OFFSET_MISMATCH: 409,
  API_IDEMPOTENCY_CONFLICT: 409,
  TOKEN_UNKNOWN: 403,
  TOKEN_EXPIRED: 403,
  TOKEN_USED: 403,
  TOKEN_REVOKED: 403,
  ACTIVATION_UNREADABLE: 400,
  ACCOUNT_FULL: 503,
  USE_DPOP_NONCE: 401,
  DPOP_INVALID: 401,
  BEARER_INVALID: 401,
  WIRE_CLOCK_SKEW: 401,
  BEAT_STALE: 409,
  BEAT_LATE: 409,
  BEAT_AHEAD: 409,
  AGENT_SUPERSEDED: 403,
  AGENT_ENDED: 403,
  AGENT_QUARANTINED: 403,
  AGENT_NOT_QUARANTINED: 409,
  REKEY_ORDER_INVALID: 403,
  REKEY_ORDER_EXPIRED: 403,
  REKEY_ORDER_REPLACED: 403,
  REKEY_PROOF_INVALID: 403,
  ANOMALY_INSTANCE_UNCLEAR: 409,
  ANOMALY_MACHINE_DIFFERS: 409,
  ANOMALY_NOT_AN_ALARM: 409,
  ANOMALY_RESOLVED: 409,
  JOB_ALREADY_FINISHED: 409,
  API_RATE_LIMITED: 429,
  WAKE_FULL: 503,
  LEASE_NOT_HELD: 403,
  SCOPE_ENV_DENIED: 400,
  SCOPE_PAYLOAD_OUTSIDE: 400,
  SECRET_UNSUITABLE: 400,
  SECRET_NAME_DENIED: 400,
  SECRET_TOO_MANY: 409,
  SECRET_UNKNOWN: 400,
  SECRET_OTHER_KIND: 400,
  SECRET_UNCARRIED: 400,
  SECRET_UNUSED: 400,
  SECRET_DOUBLED: 400,
  CONTROL_DATABASE: 503,
  CONTROL_DISK_FULL: 503,
  AGENT_UNKNOWN: 401,
  READMIT_REFUSED: 403,
  CONTROL_KEYS_EXPIRED: 503,
  CONTROL_ROOT_ABSENT: 409,
  CONTROL_ROOT_PRESENT: 409,
  KEY_UNKNOWN: 404,
  KEY_SET_FULL: 409,
  KEY_SET_REFUSED: 409,
};

const RETRY_AFTER_S: Readonly<Partial<Record<FaultCode, number>>> = {
  ACCOUNT_FULL: 60,
  WAKE_FULL: 60,
  CONTROL_DATABASE: 5,
  CONTROL_DISK_FULL: 5,
};

/** Which challenge a 401 carries (RFC 9110 section 11.6.1, RFC 9449 section 7.1). */
const CHALLENGE: Readonly<Partial<Record<FaultCode, string>>> = {
  API_UNAUTHENTICATED: "Bearer",
  AGENT_UNKNOWN: 'DPoP error="invalid_client"',
  USE_DPOP_NONCE: 'DPoP error="use_dpop_nonce"',
  DPOP_INVALID: 'DPoP error="invalid_dpop_proof"',
  BEARER_INVALID: 'DPoP error="invalid_token"',
  WIRE_CLOCK_SKEW: 'DPoP error="invalid_dpop_proof"',
};

export const statusOf = (code: FaultCode): number => STATUS[code] ?? 500;

/** A fault as `application/problem+json` (RFC 9457), with our code, what its sentence was filled with, and no stack. */
export function problemResponse(problem: Fault, nowMs: number): Response {
  const { code, message, remedy, params } = problem;
  const status = statusOf(code);
  const internal = status === 500 || code === "CONTROL_DATABASE";
  const body: Problem = {
    title: code,
    status,
    code,
    // What went wrong inside is for the server's log.
    detail: internal ? "Cannot answer: the Control Plane failed" : message,
    remedy: internal ? "Look at the Control Plane's log" : remedy,
    ...(internal ? {} : { params: { ...params } }),
    ...(code === "WIRE_CLOCK_SKEW" ? { time: nowMs } : {}),
  };
  const headers = new Headers({ "content-type": "application/problem+json" });
  const retryAfter = code === "API_RATE_LIMITED" ? params["seconds"] : RETRY_AFTER_S[code];
  if (retryAfter !== undefined) headers.set("retry-after", String(retryAfter));
  const challenge = CHALLENGE[code];
  if (challenge !== undefined) headers.set("www-authenticate", challenge);
  return new Response(JSON.stringify(body), { status, headers });
}
