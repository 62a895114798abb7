import { BUILD } from "../terminal/build-info.ts";
import type { Program } from "../terminal/program.ts";

/** The agent's command line. A command's module is loaded when it is called, not before. */
export const AGENTINA: Program = {
  name: "agentina",
  version: BUILD.version,
  summary: "Runs signed work on this host, inside the scope its operator allows",
  commands: [
    {
      kind: "command",
      name: "activate",
      summary: "Make this host an agent of a Control Plane",
      load: async () => (await import("./commands/activate.ts")).activateCommand,
    },
    {
      kind: "command",
      name: "run",
      summary: "Run the agent: take signed jobs, hold them to their scope",
      load: async () => (await import("./commands/run.ts")).runCommand,
    },
    {
      kind: "command",
      name: "status",
      summary: "Show what this host's agent is, may do and is doing",
      load: async () => (await import("./commands/status.ts")).statusCommand,
    },
    {
      kind: "command",
      name: "version",
      summary: "Show what this binary is, and whether it is genuine",
      load: async () => (await import("./commands/version.ts")).versionCommand,
    },
    { kind: "absent", name: "onboard" },
    { kind: "absent", name: "upgrade" },
    { kind: "absent", name: "report" },
  ],
  examples: [
    "agentina activate --url https://control.example.com",
    "agentina run",
    "agentina status",
    "agentina version --verify",
  ],
};
