import { BUILD } from "../../terminal/build-info.ts";
import type { Program } from "../../terminal/program.ts";

/** The Control Plane's command line. A command's module is loaded when it is called, not before. */
export const CONTROL: Program = {
  name: "agentina-control",
  version: BUILD.version,
  summary: "Serves a fleet of agents: who they are, what they may run, what they ran",
  commands: [
    {
      kind: "command",
      name: "serve",
      summary: "Run a Control Plane on a data directory",
      load: async () => (await import("./commands/serve.ts")).serveCommand,
    },
    {
      kind: "command",
      name: "init",
      summary: "Set up the keys of a new Control Plane, the trust root apart if you like",
      load: async () => (await import("./commands/init.ts")).initCommand,
    },
    {
      kind: "group",
      name: "token",
      summary: "Tokens that make a host an agent",
      commands: [
        {
          kind: "command",
          name: "mint",
          summary: "Mint an activation token; it is shown once",
          load: async () => (await import("./commands/token.ts")).mintCommand,
        },
        {
          kind: "command",
          name: "revoke",
          summary: "Revoke a token that nobody has redeemed",
          load: async () => (await import("./commands/token.ts")).revokeCommand,
        },
      ],
    },
    {
      kind: "group",
      name: "job",
      summary: "Jobs and their outcomes",
      commands: [
        {
          kind: "command",
          name: "submit",
          summary: "Queue the job a file describes",
          load: async () => (await import("./commands/job-submit.ts")).submitCommand,
        },
        {
          kind: "command",
          name: "show",
          summary: "Show a job: what ran, its verdict, its receipt",
          load: async () => (await import("./commands/job.ts")).showCommand,
        },
        {
          kind: "command",
          name: "watch",
          summary: "Follow a job to its outcome, its log as it grows",
          load: async () => (await import("./commands/job.ts")).watchCommand,
        },
        {
          kind: "command",
          name: "list",
          summary: "List jobs, newest first",
          load: async () => (await import("./commands/job.ts")).listCommand,
        },
        {
          kind: "command",
          name: "cancel",
          summary: "Cancel a job",
          load: async () => (await import("./commands/job.ts")).cancelCommand,
        },
      ],
    },
    {
      kind: "group",
      name: "agent",
      summary: "The fleet",
      commands: [
        {
          kind: "command",
          name: "list",
          summary: "List agents with state, slot and load",
          load: async () => (await import("./commands/agent.ts")).listAgentsCommand,
        },
        {
          kind: "command",
          name: "show",
          summary: "Show an agent and what it was told",
          load: async () => (await import("./commands/agent.ts")).showAgentCommand,
        },
        {
          kind: "command",
          name: "drain",
          summary: "Take nothing new, let running jobs end",
          load: async () => (await import("./commands/agent-order.ts")).drainCommand,
        },
        {
          kind: "command",
          name: "stop",
          summary: "Take nothing new, cancel what runs after a while",
          load: async () => (await import("./commands/agent-order.ts")).stopCommand,
        },
        {
          kind: "command",
          name: "resume",
          summary: "Take work again",
          load: async () => (await import("./commands/agent-order.ts")).resumeCommand,
        },
        {
          kind: "command",
          name: "quarantine",
          summary: "Stop everything until one process is recovered",
          load: async () => (await import("./commands/agent-order.ts")).quarantineCommand,
        },
        {
          kind: "command",
          name: "terminate",
          summary: "End an agent for good",
          load: async () => (await import("./commands/agent-order.ts")).terminateCommand,
        },
        {
          kind: "command",
          name: "confirm",
          summary: "Confirm an agent that came back after a restore",
          load: async () => (await import("./commands/agent-confirm.ts")).confirmAgentCommand,
        },
      ],
    },
    {
      kind: "group",
      name: "secret",
      summary: "Values that jobs are given by name",
      commands: [
        {
          kind: "command",
          name: "set",
          summary: "Keep a value, or replace it",
          load: async () => (await import("./commands/secret.ts")).setSecretCommand,
        },
        {
          kind: "command",
          name: "list",
          summary: "List names and limits, never values",
          load: async () => (await import("./commands/secret.ts")).listSecretsCommand,
        },
        {
          kind: "command",
          name: "remove",
          summary: "Remove a value",
          load: async () => (await import("./commands/secret.ts")).removeSecretCommand,
        },
      ],
    },
    {
      kind: "group",
      name: "anomaly",
      summary: "Agents that are not as they should be",
      commands: [
        {
          kind: "command",
          name: "list",
          summary: "List what is open, the latest first",
          load: async () => (await import("./commands/anomaly.ts")).listAnomaliesCommand,
        },
        {
          kind: "command",
          name: "show",
          summary: "Show one with its evidence, process by process",
          load: async () => (await import("./commands/anomaly.ts")).showAnomalyCommand,
        },
        {
          kind: "command",
          name: "recover",
          summary: "Let one process go on, with new keys",
          load: async () => (await import("./commands/anomaly-act.ts")).recoverCommand,
        },
        {
          kind: "command",
          name: "rebind",
          summary: "Accept the machine an agent runs on now",
          load: async () => (await import("./commands/anomaly-act.ts")).rebindCommand,
        },
        {
          kind: "command",
          name: "reseal",
          summary: "Accept an agent's state files as they are",
          load: async () => (await import("./commands/anomaly-act.ts")).resealCommand,
        },
        {
          kind: "command",
          name: "resolve",
          summary: "Close an alarm you have looked at",
          load: async () => (await import("./commands/anomaly-act.ts")).resolveCommand,
        },
      ],
    },
    {
      kind: "group",
      name: "account",
      summary: "What the account may run",
      commands: [
        {
          kind: "command",
          name: "plan",
          summary: "Show the plan, or change its numbers",
          load: async () => (await import("./commands/account.ts")).planCommand,
        },
      ],
    },
    {
      kind: "group",
      name: "keys",
      summary: "The Control Plane's own keys",
      commands: [
        {
          kind: "command",
          name: "list",
          summary: "Show the keys: windows, who signs now, what needs you",
          load: async () => (await import("./commands/keys.ts")).listKeysCommand,
        },
        {
          kind: "command",
          name: "rotate",
          summary: "Make successors for the signing keys",
          load: async () => (await import("./commands/keys.ts")).rotateKeysCommand,
        },
        {
          kind: "command",
          name: "revoke",
          summary: "Make a key good for nothing",
          load: async () => (await import("./commands/keys.ts")).revokeKeyCommand,
        },
        {
          kind: "command",
          name: "request",
          summary: "Write down what a root key kept elsewhere has to sign",
          load: async () => (await import("./commands/keys.ts")).requestKeysCommand,
        },
        {
          kind: "command",
          name: "sign",
          summary: "Sign a request with the root key, offline",
          load: async () => (await import("./commands/keys-sign.ts")).signKeysCommand,
        },
        {
          kind: "command",
          name: "install",
          summary: "Install a key set that was signed elsewhere",
          load: async () => (await import("./commands/keys-sign.ts")).installKeysCommand,
        },
      ],
    },
    {
      kind: "group",
      name: "receipts",
      summary: "Proof of what agents ran",
      commands: [
        {
          kind: "command",
          name: "export",
          summary: "Write an agent's receipts to a file",
          load: async () => (await import("./commands/receipts.ts")).exportReceiptsCommand,
        },
        {
          kind: "command",
          name: "verify",
          summary: "Prove an exported file, offline",
          load: async () => (await import("./commands/receipts.ts")).verifyReceiptsCommand,
        },
      ],
    },
    {
      kind: "command",
      name: "backup",
      summary: "Copy a Control Plane, serving or not",
      load: async () => (await import("./commands/backup.ts")).backupCommand,
    },
    {
      kind: "command",
      name: "restore",
      summary: "Bring a Control Plane back from a backup",
      load: async () => (await import("./commands/backup.ts")).restoreCommand,
    },
    {
      kind: "command",
      name: "version",
      summary: "Show what this binary is",
      load: async () => (await import("./commands/version.ts")).versionCommand,
    },
  ],
  examples: [
    "agentina-control serve --data-dir /var/lib/agentina-control",
    "agentina-control token mint --label builder-1",
    "agentina-control job submit job.json --watch",
  ],
};
