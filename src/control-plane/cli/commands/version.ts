import { EXIT } from "../../../fault/exit.ts";
import { BUILD } from "../../../terminal/build-info.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine } from "../../../terminal/output.ts";

export const versionCommand = command({
  meta: {
    description: "Shows version, commit, date, target and the runtime inside.",
    examples: ["agentina-control version", "agentina-control version --json"],
    trustVariables: "harmless",
  },
  args: { json: { type: "boolean", description: "Print one JSON object" } },
  run: async ({ json }, terminal) => {
    const { version, commit, date, target, bun } = BUILD;
    const text = `agentina-control ${version} (${target}, commit ${commit}, ${date}, bun ${bun})\n`;
    await terminal.say(json ? jsonLine({ version, commit, date, target, bun }) : text);
    return EXIT.OK;
  },
});
