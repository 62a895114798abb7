import { EXIT } from "../exit.ts";
import type { FaultTable } from "../table.ts";

/** Why a signed job is refused before its scope is looked at, or its input cannot be had. */
export const jobFaults = {
  JOB_SCHEMA: {
    sentence: "Cannot accept the job: {path}: {why}",
    remedy: "Correct that field of the job",
    exit: EXIT.DATA,
    retry: "never",
  },
  JOB_WRONG_AGENT: {
    sentence: 'Cannot accept the job: it is for "{found}"',
    remedy: "The Control Plane sends it to the agent it names",
    exit: EXIT.DATA,
    retry: "never",
  },
  JOB_WRONG_ISSUER: {
    sentence: 'Cannot accept the job: "{found}" issued it, not this agent\'s Control Plane',
    remedy: "Look at who sent it",
    exit: EXIT.DATA,
    retry: "never",
  },
  JOB_WRONG_LICENSE: {
    sentence: 'Cannot accept the job: it names the license "{found}"',
    remedy: "The Control Plane signs it again for the license in force",
    exit: EXIT.DATA,
    retry: "never",
  },
  JOB_WRONG_EPOCH: {
    sentence: "Cannot accept the job: it is of epoch {found}, this agent is in {expected}",
    remedy: "The Control Plane signs it again for the epoch in force",
    exit: EXIT.DATA,
    retry: "never",
  },
  JOB_LIFETIME: {
    sentence: "Cannot accept the job: its times do not fit together ({why})",
    remedy: "A job lives at most 15 minutes from its signature to its start",
    exit: EXIT.DATA,
    retry: "never",
  },
  JOB_EXPIRED: {
    sentence: "Cannot accept the job: it expired {seconds} s ago",
    remedy: "Check this host's clock; the Control Plane offers the job again",
    exit: EXIT.DATA,
    retry: "never",
  },
  JOB_NOT_YET_VALID: {
    sentence: "Cannot accept the job: it becomes valid in {seconds} s",
    remedy: "Check this host's clock; the Control Plane offers the job again",
    exit: EXIT.DATA,
    retry: "never",
  },
  JOB_REPLAYED: {
    sentence: "Cannot accept the job: {why}",
    remedy: "Somebody sent an old envelope again; look at the network path",
    exit: EXIT.DATA,
    retry: "never",
  },
  JOB_KIND_UNKNOWN: {
    sentence: 'Cannot run a job of kind "{kind}": this version does not know it',
    remedy: "Upgrade the agent, or send the job to one that advertises the kind",
    exit: EXIT.DATA,
    retry: "never",
  },
  JOB_KIND_UNLICENSED: {
    sentence: 'Cannot run a job of kind "{kind}": the license does not include it',
    remedy: "Add the kind to the account's plan",
    exit: EXIT.DATA,
    retry: "never",
  },
  SOURCE_NEEDS_EGRESS: {
    sentence: 'Cannot fetch "{url}": this build gives jobs no network',
    remedy: "Give the source as a bundle, or as file:// with its path in scope.files.read",
    exit: EXIT.UNAVAILABLE,
    retry: "never",
  },
  SOURCE_UNSUPPORTED: {
    sentence: 'Cannot fetch "{url}": {why}',
    remedy: "Give the source as a bundle, or as file:// with its path in scope.files.read",
    exit: EXIT.DATA,
    retry: "never",
  },
  BLOB_UNAVAILABLE: {
    sentence: 'Cannot fetch the input "{name}": {why}',
    remedy: "Upload it to the Control Plane again and submit the job anew",
    exit: EXIT.UNAVAILABLE,
    retry: "backoff",
  },
  BLOB_MISMATCH: {
    sentence: 'Cannot use the input "{name}": its bytes are not the ones the signed job names',
    remedy: "Upload it to the Control Plane again and submit the job anew",
    exit: EXIT.DATA,
    retry: "never",
  },
} as const satisfies FaultTable;
