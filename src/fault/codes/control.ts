import { EXIT } from "../exit.ts";
import type { FaultTable } from "../table.ts";

const refusal = <const Sentence extends string, const Remedy extends string>(
  sentence: Sentence,
  remedy: Remedy,
) => ({ sentence, remedy, exit: EXIT.DATA, retry: "never" }) as const;

/** What the Control Plane answers instead of doing what was asked. */
export const controlFaults = {
  CONTROL_DATA_DIR: {
    sentence: 'Cannot use the data directory "{path}": {why}',
    remedy: "Make it a directory of this user with mode 0700, or name another with --data-dir",
    exit: EXIT.CANT_CREATE,
    retry: "never",
  },
  CONTROL_DISK_FULL: {
    sentence: "Cannot store anything: the Control Plane's disk is full",
    remedy: "Free space on the file system of its data directory; nothing was half-written",
    exit: EXIT.CANT_CREATE,
    retry: "backoff",
  },
  CONTROL_DATA_LOCKED: {
    sentence: 'Cannot use the data directory "{path}": another Control Plane (pid {pid}) is serving it',
    remedy: "Stop that one first, or give this one a data directory of its own",
    exit: EXIT.TRY_AGAIN,
    retry: "backoff",
  },
  CONTROL_LISTEN: {
    sentence: 'Cannot listen on "{address}": {why}',
    remedy: "Free the port or choose another with --listen",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  CONTROL_NOT_SERVING: {
    sentence: 'Cannot reach the Control Plane of "{path}": {why}',
    remedy:
      'Start it with "agentina-control serve --data-dir {path}", or name another with --url and --key-file',
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  API_UNREACHABLE: {
    sentence: 'Cannot reach the Control Plane at "{url}": {why}',
    remedy: 'Start it with "agentina-control serve", or check --url',
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  JOB_FILE_MALFORMED: {
    sentence: 'Cannot submit "{file}": {path}: {why}',
    remedy: "Correct that place; docs/control-plane.md shows what a job looks like",
    exit: EXIT.DATA,
    retry: "never",
  },
  CONTROL_DATABASE: {
    sentence: "Cannot use the database: {why}",
    remedy: "Free disk space and check the file's owner",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  CONTROL_KEY_UNUSABLE: {
    sentence: 'Cannot use the key file "{path}": {why}',
    remedy: "Restore it from a backup; keys are never replaced in silence",
    exit: EXIT.CONFIG,
    retry: "never",
  },
  API_UNAUTHENTICATED: {
    sentence: "Cannot do this: the request carries no valid credential ({why})",
    remedy: "Give the admin key with --key-file",
    exit: EXIT.NO_PERMISSION,
    retry: "never",
  },
  API_NOT_FOUND: {
    sentence: "Cannot find {what}",
    remedy: "Check the id; what another account owns is not shown",
    exit: EXIT.NO_INPUT,
    retry: "never",
  },
  API_BODY_MALFORMED: refusal("Cannot accept the request: {path}: {why}", "Correct that field"),
  API_BODY_OVERSIZED: refusal(
    "Cannot accept the request: its body is larger than {limit} bytes",
    "Send less",
  ),
  API_MEDIA_TYPE: refusal('Cannot accept the request: its content type is "{found}"', 'Send "{expected}"'),
  INSTALLER_NOT_PUBLISHED: {
    sentence: "Cannot give an installer: this Control Plane has none",
    remedy: "Copy the agentina binary and its bundle to the host by hand",
    exit: EXIT.UNAVAILABLE,
    retry: "never",
  },
  API_OFFSET_MISMATCH: {
    sentence: "Cannot append at byte {offset}: {stored} bytes are stored",
    remedy: "Go on from the stored length",
    exit: EXIT.DATA,
    retry: "now",
  },
  API_IDEMPOTENCY_CONFLICT: refusal(
    'Cannot accept the job: the idempotency key "{key}" was used for another job',
    "Use a new key for a new job",
  ),
  TOKEN_UNKNOWN: refusal("Cannot activate: the Control Plane does not know this token", "Mint a new one"),
  TOKEN_EXPIRED: refusal("Cannot activate: the token expired at {until}", "Mint a new one"),
  TOKEN_USED: refusal("Cannot activate: this token was redeemed already", "Mint a new one for this host"),
  TOKEN_REVOKED: refusal("Cannot activate: the token was revoked", "Mint a new one"),
  ACTIVATION_UNREADABLE: refusal(
    "Cannot activate: the sealed part of the request does not open ({why})",
    "Check that agent and Control Plane are of versions that go together",
  ),
  ACCOUNT_FULL: {
    sentence: "Cannot activate: the account runs {max} agents at most and too many wait for a slot already",
    remedy: 'Stop agents, or raise max_agents with "agentina-control account plan"; the token stays valid',
    exit: EXIT.TRY_AGAIN,
    retry: "backoff",
  },
  USE_DPOP_NONCE: {
    sentence: "Cannot accept the proof: it carries no nonce this server gave",
    remedy: "Send it again with the nonce of the DPoP-Nonce header",
    exit: EXIT.TRY_AGAIN,
    retry: "now",
  },
  DPOP_INVALID: {
    sentence: "Cannot accept the proof of possession: {why}",
    remedy: "Check the clock, the URL and any proxy that changes requests",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  BEARER_INVALID: {
    sentence: "Cannot accept the access token: {why}",
    remedy: "Ask for a new one",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  BEAT_STALE: {
    sentence: "Cannot accept the heartbeat: its place in the chain is taken ({why})",
    remedy: "Look at the Control Plane's log: two agents may share one identity",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  BEAT_LATE: {
    sentence: "Cannot use the heartbeat: it is older than one already accepted ({why})",
    remedy: "Nothing to do: the agent's later heartbeats count",
    exit: EXIT.TRY_AGAIN,
    retry: "backoff",
  },
  BEAT_AHEAD: {
    sentence:
      "Cannot accept the heartbeat: it is number {shown} and this server expects {expected}, so the server has lost some",
    remedy:
      'If the Control Plane was brought back from a backup, that must be done with "agentina-control restore"; then agents are taken back by themselves',
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  AGENT_SUPERSEDED: {
    sentence: "Cannot do this for the agent: its key was replaced by another one",
    remedy:
      "This is a copy of an agent that goes on elsewhere: remove it, or activate it with a token of its own",
    exit: EXIT.NO_PERMISSION,
    retry: "never",
  },
  AGENT_ENDED: {
    sentence: "Cannot do this for the agent: it was ended for good ({reason})",
    remedy: "Mint a fresh token and activate the host again; it becomes a new agent",
    exit: EXIT.NO_PERMISSION,
    retry: "never",
  },
  AGENT_QUARANTINED: {
    sentence: "Cannot do this for the agent: it is quarantined ({reason})",
    remedy: 'Look at it with "agentina-control anomaly list" and recover it',
    exit: EXIT.NO_PERMISSION,
    retry: "backoff",
  },
  AGENT_NOT_QUARANTINED: refusal(
    "Cannot recover the agent: it is not quarantined",
    'Look at it with "agentina-control agent show"',
  ),
  REKEY_ORDER_INVALID: refusal(
    "Cannot replace the key: the order is not one this Control Plane gave to this agent for that ({why})",
    "Wait for the recover order of an admin, and send it as it came",
  ),
  REKEY_ORDER_EXPIRED: refusal(
    "Cannot replace the key: the recover order ended {seconds} s ago",
    "Go on beating: the order is told again",
  ),
  REKEY_ORDER_REPLACED: refusal(
    "Cannot replace the key: an admin has given another order since",
    "Wait for the recover order in force",
  ),
  REKEY_PROOF_INVALID: refusal(
    "Cannot replace the key: the new one is not proven ({why})",
    "Make new keys and sign the order with them",
  ),
  ANOMALY_INSTANCE_UNCLEAR: refusal(
    "Cannot tell which process is meant: {found} come into question",
    'Compare them with "agentina-control anomaly show", and name one with --inst',
  ),
  ANOMALY_MACHINE_DIFFERS: refusal(
    "Cannot recover this process: it does not run on the machine that was enrolled ({why})",
    "Pick another process; or, if the machine was changed on purpose, give --rebind as well",
  ),
  ANOMALY_NOT_AN_ALARM: refusal(
    "Cannot resolve this by saying so: it quarantines the agent until one process of it is recovered",
    'Use "agentina-control anomaly recover", or end the agent with "agentina-control agent terminate"',
  ),
  ANOMALY_RESOLVED: refusal("Cannot do this: the anomaly was resolved already ({how})", "Nothing to do"),
  JOB_ALREADY_FINISHED: refusal("Cannot cancel the job: it has ended already ({outcome})", "Nothing to do"),
  API_RATE_LIMITED: {
    sentence: "Cannot do this now: too many such requests came; the next one is taken in {seconds} s",
    remedy: "Wait as long, and look at what asks so often",
    exit: EXIT.TRY_AGAIN,
    retry: "backoff",
  },
  WAKE_FULL: {
    sentence: "Cannot keep another wake-up line open: {max} are open already",
    remedy: "Nothing to do: the agent asks at its interval; serve --max-wakes allows more",
    exit: EXIT.TRY_AGAIN,
    retry: "backoff",
  },
  LEASE_NOT_HELD: refusal(
    "Cannot accept this for the job: the agent does not hold its lease",
    "Nothing to do",
  ),
} as const satisfies FaultTable;
