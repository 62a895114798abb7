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
