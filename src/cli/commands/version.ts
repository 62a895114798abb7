import { EXIT } from "../../fault/exit.ts";
import { BUILD } from "../../terminal/build-info.ts";
import { command } from "../../terminal/command.ts";
import { jsonLine } from "../../terminal/output.ts";

export const versionCommand = command({
  meta: {
    description:
      "Shows version, commit, date, target and the runtime inside. With --verify the binary's own bytes are read and held against the signature bundle beside it, which takes a fifth of a second.",
    examples: ["agentina version", "agentina version --json", "agentina version --verify"],
    trustVariables: "harmless",
  },
  args: {
    json: { type: "boolean", description: "Print one JSON object" },
    verify: { type: "boolean", description: "Check the binary against its signature bundle" },
  },
  run: async ({ json, verify }, terminal) => {
    const { version, commit, date, target, bun } = BUILD;
    const facts = { version, commit, date, target, bun };
    const bundle = verify ? await verdict() : null;
    if (json) {
      await terminal.say(
        jsonLine(bundle === null ? facts : { ...facts, bundle: bundle.verdict, why: bundle.why }),
      );
      return EXIT.OK;
    }
    const verdictLine =
      bundle === null ? "" : `bundle: ${bundle.verdict}${bundle.why === null ? "" : ` (${bundle.why})`}\n`;
    await terminal.say(
      `agentina ${version} (${target}, commit ${commit}, ${date}, bun ${bun})\n${verdictLine}`,
    );
    return EXIT.OK;
  },
});

async function verdict() {
  const { checkOwnBundle } = await import("../../release/self-check.ts");
  return await checkOwnBundle(BUILD);
}
