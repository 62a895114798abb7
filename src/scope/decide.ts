import type { Grant } from "../protocol/receipt.ts";
import type { JobLimits, Scope } from "../protocol/scope.ts";
import { isDeniedEnvName } from "./env-names.ts";
import { covers, entryProblem, forbiddenRoot, isWorkspaceEntry, WORKSPACE } from "./paths.ts";
import { checkPayload } from "./payload.ts";
import type { Policy } from "./policy.ts";
import { type Refusal, refuse, type ScopedJob } from "./refusal.ts";

/** What of this host bears on the decision. */
export interface ScopeHost {
  /** `weak`: no delegated cgroup holds memory and processes. */
  readonly limits: Grant["limits_enforced"];
  /** The agent's own directories (state, log, configuration, programs): never given to a job in any part. */
  readonly forbidden: readonly string[];
}

export type Decision =
  | { readonly ok: true; readonly grant: Grant }
  | { readonly ok: false; readonly refusal: Refusal };

/**
 * Holds what a job asks for against the operator's policy, against itself, and against what this host can enforce.
 * The first complaint refuses the whole job; nothing is narrowed and nothing is ignored.
 */
export function decide(job: ScopedJob, policy: Policy, host: ScopeHost): Decision {
  const refusal =
    checkKind(job, policy) ??
    checkEntries(job.scope, host.forbidden) ??
    checkFilesInPolicy(job.scope, policy) ??
    checkCommands(job.scope, policy) ??
    checkHosts(job.scope) ??
    checkEnv(job.scope) ??
    checkPartsOfWorkspace(job.scope) ??
    checkCeilings(job.limits, policy) ??
    checkPayload(job) ??
    checkHostLimits(policy, host);
  if (refusal) return { ok: false, refusal };
  return { ok: true, grant: { scope: job.scope, limits: job.limits, limits_enforced: host.limits } };
}

function checkKind({ kind }: ScopedJob, policy: Policy): Refusal | null {
  if (policy.kinds.allow.some((allowed) => allowed === kind)) return null;
  return refuse("SCOPE_KIND_OUTSIDE_POLICY", kind, { kind }, "[kinds] allow");
}

const LISTS = ["read", "write"] as const;

function checkEntries(scope: Scope, own: readonly string[]): Refusal | null {
  for (const list of LISTS) {
    for (const entry of scope.files[list]) {
      const why = entryProblem(entry);
      if (why !== null) return refuse("SCOPE_PATH_MALFORMED", entry, { list, entry, why });
      if (isWorkspaceEntry(entry)) continue;
      const root = forbiddenRoot(entry, list, own);
      if (root !== null) return refuse("SCOPE_PATH_FORBIDDEN", entry, { list, entry, root });
    }
  }
  return null;
}

/** What may be written may be read; what is denied is denied with everything that holds it. */
function checkFilesInPolicy(scope: Scope, policy: Policy): Refusal | null {
  const { read, write, deny } = policy.files;
  const roots = { read: [...read, ...write], write };
  for (const list of LISTS) {
    for (const entry of scope.files[list]) {
      if (isWorkspaceEntry(entry)) continue;
      const denied = deny.find((root) => covers(root, entry) || covers(entry, root));
      if (denied !== undefined) {
        return refuse("SCOPE_PATH_OUTSIDE_POLICY", entry, { entry, list }, `[files] deny "${denied}"`);
      }
      if (!roots[list].some((root) => covers(root, entry))) {
        return refuse("SCOPE_PATH_OUTSIDE_POLICY", entry, { entry, list }, `[files] ${list}`);
      }
    }
  }
  return null;
}

function checkCommands({ commands }: Scope, policy: Policy): Refusal | null {
  if (commands === "system") {
    if (policy.commands.allow === "system") return null;
    return refuse("SCOPE_COMMANDS_OUTSIDE_POLICY", commands, { entry: commands }, "[commands] allow");
  }
  const [first] = commands;
  if (first === undefined) return null;
  return refuse("SCOPE_COMMANDS_UNENFORCED", first, { entry: commands.join(" ") });
}

function checkHosts({ hosts }: Scope): Refusal | null {
  const [entry] = hosts;
  return entry === undefined ? null : refuse("SCOPE_HOSTS_UNENFORCED", entry, { entry });
}

function checkEnv({ env }: Scope): Refusal | null {
  const entry = env.find(isDeniedEnvName);
  return entry === undefined ? null : refuse("SCOPE_ENV_DENIED", entry, { entry });
}

/** The workspace is one bind mount: all of it is writable or none. */
function checkPartsOfWorkspace({ files }: Scope): Refusal | null {
  const entry = files.write.find((path) => isWorkspaceEntry(path) && path !== WORKSPACE);
  return entry === undefined ? null : refuse("SCOPE_WRITE_UNENFORCED", entry, { entry });
}

const CEILINGS = ["timeout_s", "memory_bytes", "pids", "output_bytes", "workspace_bytes"] as const;

function checkCeilings(limits: JobLimits, policy: Policy): Refusal | null {
  for (const limit of CEILINGS) {
    const allowed = policy.limits[limit];
    const asked = limits[limit];
    if (allowed !== undefined && asked > allowed) {
      const entry = `${limit}=${asked}`;
      return refuse("SCOPE_LIMIT_OUTSIDE_POLICY", entry, { limit, asked, allowed }, `[limits] ${limit}`);
    }
  }
  return null;
}

function checkHostLimits(policy: Policy, host: ScopeHost): Refusal | null {
  if (host.limits === "cgroup" || policy.limits.weak === "allow") return null;
  const why = "no cgroup v2 subtree with memory and pids is delegated to the agent";
  return refuse("HOST_LIMITS_WEAK", "limits", { why }, "[limits] weak");
}
