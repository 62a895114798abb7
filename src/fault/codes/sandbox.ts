import { EXIT } from "../exit.ts";
import type { FaultTable } from "../table.ts";

/** Why this host cannot hold a job to its scope. There is no weaker mode: the job is refused or ends sandbox_failed. */
export const sandboxFaults = {
  BWRAP_MISSING: {
    sentence: "Cannot run jobs on this host: bubblewrap is not installed",
    remedy: 'Install it: "apt-get install bubblewrap" (or dnf, apk)',
    exit: EXIT.CONFIG,
    retry: "never",
  },
  BWRAP_UNUSABLE: {
    sentence: 'Cannot run jobs on this host: "{path}" is unusable ({why})',
    remedy: "Install bubblewrap again; it must belong to root, be executable, and be writable by root only",
    exit: EXIT.CONFIG,
    retry: "never",
  },
  USERNS_BLOCKED: {
    sentence: "Cannot run jobs on this host: user namespaces are blocked ({why})",
    remedy: "{remedy}",
    exit: EXIT.CONFIG,
    retry: "never",
  },
  GIT_MISSING: {
    sentence: "Cannot check out sources on this host: git is not installed",
    remedy: 'Install it: "apt-get install git" (or dnf, apk)',
    exit: EXIT.CONFIG,
    retry: "never",
  },
  WORK_DIR_UNUSABLE: {
    sentence: 'Cannot prepare the job\'s workspace in "{path}": {why}',
    remedy: "Free disk space and check the directory's owner",
    exit: EXIT.CANT_CREATE,
    retry: "backoff",
  },
  HOST_DISK_LOW: {
    sentence:
      'Cannot run the job on this host: "{path}" has {free} bytes free, and its inputs and the reserve need {needed}',
    remedy: "Free disk space on that file system, or give the job to another host",
    exit: EXIT.CANT_CREATE,
    retry: "backoff",
  },
} as const satisfies FaultTable;
