import { EXIT } from "../exit.ts";
import type { FaultTable } from "../table.ts";

/** What can go wrong between agent and Control Plane. None of these ever means "revoked". */
export const wireFaults = {
  WIRE_UNREACHABLE: {
    sentence: 'Cannot reach "{url}": {why}',
    remedy: "Check the network, the name and the port; the agent tries again by itself",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  WIRE_TIMEOUT: {
    sentence: 'Cannot get an answer from "{url}" within {seconds} s',
    remedy: "Check the network and the Control Plane's load; the agent tries again by itself",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  WIRE_NOT_CONTROL_PLANE: {
    sentence: 'Cannot understand "{url}": it answered {status} with {what} instead of JSON',
    remedy: "Check the URL and any proxy or login page in between",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  WIRE_REPLY_MALFORMED: {
    sentence: 'Cannot understand the answer of "{url}": {why}',
    remedy: "Check that agent and Control Plane are of versions that go together",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  WIRE_REPLY_OVERSIZED: {
    sentence: 'Cannot read the answer of "{url}": it is larger than {limit} bytes',
    remedy: "Check the URL and any proxy in between",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  WIRE_REPLY_UNSIGNED: {
    sentence: 'Cannot accept the answer of "{url}": {why}',
    remedy: "Something between agent and Control Plane changes answers; nothing was used of it",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  WIRE_UNAUTHORIZED: {
    sentence: 'Cannot talk to "{url}": it does not accept this agent\'s credentials ({why})',
    remedy: "The agent asks for new ones by itself; if this stays, look at the agent on the Control Plane",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  WIRE_NOT_FOUND: {
    sentence: 'Cannot find "{url}" on the server',
    remedy: "Check the URL; it must name the Control Plane's root",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  WIRE_RATE_LIMITED: {
    sentence: 'Cannot talk to "{url}" now: it asks to wait {seconds} s',
    remedy: "Nothing to do; the agent waits as asked",
    exit: EXIT.TRY_AGAIN,
    retry: "backoff",
  },
  WIRE_SERVER_ERROR: {
    sentence: 'Cannot get an answer from "{url}": it failed with status {status}',
    remedy: "Look at the Control Plane's log; the agent tries again by itself",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  WIRE_REFUSED: {
    sentence: 'Cannot do this on "{url}": {why}',
    remedy: "{remedy}",
    exit: EXIT.DATA,
    retry: "never",
  },
  WIRE_CLOCK_SKEW: {
    sentence: "Cannot talk to the Control Plane: this host's clock is {seconds} s away from its clock",
    remedy: "Set the clock (timedatectl set-ntp true); the agent goes on by itself once it is right",
    exit: EXIT.TRY_AGAIN,
    retry: "backoff",
  },
  WIRE_INSECURE_URL: {
    sentence: 'Cannot use "{url}": {why}',
    remedy: "Give the Control Plane's https:// URL; plain http is accepted for loopback addresses only",
    exit: EXIT.USAGE,
    retry: "never",
  },
} as const satisfies FaultTable;
