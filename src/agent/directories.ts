import { join, resolve } from "node:path";

/** Where this agent keeps what. All absolute. */
export interface Directories {
  readonly stateDir: string;
  readonly logDir: string;
  readonly configDir: string;
  readonly policyPath: string;
  /** True when the policy was named by hand, outside the installed place. */
  readonly policyNamed: boolean;
}

/** The flags that move a root; undefined means not given. */
export interface DirectoryFlags {
  readonly stateDir?: string | undefined;
  readonly logDir?: string | undefined;
  readonly configDir?: string | undefined;
  readonly policy?: string | undefined;
}

/** Flag, else environment, else the installed place. */
export function resolveDirectories(
  flags: DirectoryFlags,
  env: Readonly<Record<string, string | undefined>>,
): Directories {
  const configDir = resolve(flags.configDir ?? env["AGENTINA_CONFIG_DIR"] ?? "/etc/agentina");
  const policy = flags.policy ?? env["AGENTINA_POLICY"];
  return {
    stateDir: resolve(flags.stateDir ?? env["AGENTINA_STATE_DIR"] ?? "/var/lib/agentina"),
    logDir: resolve(flags.logDir ?? env["AGENTINA_LOG_DIR"] ?? "/var/log/agentina"),
    configDir,
    policyPath: policy === undefined ? join(configDir, "policy.toml") : resolve(policy),
    policyNamed: policy !== undefined,
  };
}
