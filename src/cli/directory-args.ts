import { type Directories, resolveDirectories } from "../agent/directories.ts";

/** Options that say where this agent keeps what; several agents on one host need no root with them. */
export const stateDirArg = {
  "state-dir": {
    type: "string",
    valueHint: "DIR",
    description: "The agent's own state (default: $AGENTINA_STATE_DIR, else /var/lib/agentina)",
  },
} as const;

export const directoryArgs = {
  ...stateDirArg,
  "log-dir": {
    type: "string",
    valueHint: "DIR",
    description: "Its log files (default: $AGENTINA_LOG_DIR, else /var/log/agentina)",
  },
  "config-dir": {
    type: "string",
    valueHint: "DIR",
    description: "The operator's files (default: $AGENTINA_CONFIG_DIR, else /etc/agentina)",
  },
  policy: {
    type: "string",
    valueHint: "FILE",
    description:
      "What jobs may do at most (default: $AGENTINA_POLICY, else policy.toml in the config directory)",
  },
} as const;

type DirectoryValues = {
  readonly [Name in keyof typeof directoryArgs]?: string | undefined;
};

export const directoriesOf = (
  args: DirectoryValues,
  env: Readonly<Record<string, string | undefined>>,
): Directories =>
  resolveDirectories(
    {
      stateDir: args["state-dir"],
      logDir: args["log-dir"],
      configDir: args["config-dir"],
      policy: args.policy,
    },
    env,
  );
