import { EXIT } from "../exit.ts";
import type { FaultTable } from "../table.ts";

const outside = (sentence: string, remedy: string) =>
  ({ sentence, remedy, exit: EXIT.DATA, retry: "never" }) as const;

/** Why a job's declared scope is refused: not well-formed, outside the operator's policy, or not enforceable here. */
export const scopeFaults = {
  SCOPE_PATH_MALFORMED: {
    sentence: 'Cannot accept scope.files.{list} entry "{entry}": {why}',
    remedy: 'Use an absolute path, or "./" for the job\'s workspace; no "..", no globs, no doubled slashes',
    exit: EXIT.DATA,
    retry: "never",
  },
  SCOPE_PATH_FORBIDDEN: {
    sentence: 'Cannot accept scope.files.{list} entry "{entry}": "{root}" is never given to a job',
    remedy: "Take the entry out of the job",
    exit: EXIT.DATA,
    retry: "never",
  },
  SCOPE_PATH_OUTSIDE_POLICY: {
    sentence: 'Cannot give the job "{entry}" ({list}): the policy does not allow it',
    remedy: "If it should, add it to [files] {list} in the policy of this host",
    exit: EXIT.DATA,
    retry: "never",
  },
  SCOPE_PATH_MISSING: {
    sentence: 'Cannot give the job "{entry}": {why}',
    remedy: "Create it on the host or take it out of the job",
    exit: EXIT.DATA,
    retry: "never",
  },
  SCOPE_KIND_OUTSIDE_POLICY: {
    sentence: 'Cannot run a job of kind "{kind}": the policy does not allow it',
    remedy: "If it should, add it to [kinds] allow in the policy of this host",
    exit: EXIT.DATA,
    retry: "never",
  },
  SCOPE_COMMANDS_OUTSIDE_POLICY: {
    sentence: 'Cannot give the job the commands "{entry}": the policy does not allow them',
    remedy: "If it should, change [commands] allow in the policy of this host",
    exit: EXIT.DATA,
    retry: "never",
  },
  SCOPE_ENV_DENIED: {
    sentence: 'Cannot set "{entry}" for the job: this variable changes what other programs load or trust',
    remedy: "Take it out of scope.env and payload.env",
    exit: EXIT.DATA,
    retry: "never",
  },
  SCOPE_PAYLOAD_OUTSIDE: {
    sentence: 'Cannot accept the job: its payload uses "{entry}", which its own scope does not include',
    remedy: "Add it to {list}, or take it out of the payload",
    exit: EXIT.DATA,
    retry: "never",
  },
  SCOPE_LIMIT_OUTSIDE_POLICY: {
    sentence: "Cannot give the job {limit} = {asked}: the policy allows at most {allowed}",
    remedy: "Ask for less, or raise [limits] {limit} in the policy of this host",
    exit: EXIT.DATA,
    retry: "never",
  },
  SCOPE_HOSTS_UNENFORCED: outside(
    'Cannot give the job the host "{entry}": this build cannot hold a job to a list of hosts, so it gives none',
    "Take scope.hosts out of the job; its processes run without network",
  ),
  SCOPE_COMMANDS_UNENFORCED: outside(
    'Cannot hold the job to the command list "{entry}": this build cannot enforce one',
    'Use "commands": "system", or "commands": [] for a job that starts nothing',
  ),
  SCOPE_WRITE_UNENFORCED: outside(
    'Cannot hold the job to writing below "{entry}": this build cannot enforce a part of the workspace',
    'Use "./" for the whole workspace',
  ),
  HOST_LIMITS_WEAK: {
    sentence: "Cannot hold jobs to memory and process limits: {why}",
    remedy:
      'Delegate a cgroup v2 subtree to the agent, or accept weak limits with [limits] weak = "allow" in the policy',
    exit: EXIT.CONFIG,
    retry: "never",
  },
} as const satisfies FaultTable;
