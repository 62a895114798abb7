import { type ActivationResult, activate, controlPlaneUrl } from "../../agent/activate.ts";
import { systemRandom } from "../../agent/clock.ts";
import type { Directories } from "../../agent/directories.ts";
import { httpTransport } from "../../agent/transport.ts";
import { EXIT } from "../../fault/exit.ts";
import { fault } from "../../fault/fault.ts";
import { bootMs, hostName } from "../../host/facts.ts";
import { makeFingerprint } from "../../host/fingerprint.ts";
import { readIdentityFacts } from "../../host/identity-facts.ts";
import { shellWords } from "../../protocol/argv.ts";
import { checkOwnBundle } from "../../release/self-check.ts";
import { BUILD } from "../../terminal/build-info.ts";
import { command } from "../../terminal/command.ts";
import { refuseForeignTrust } from "../../terminal/environment.ts";
import { notices } from "../../terminal/notices.ts";
import { jsonLine, type Terminal } from "../../terminal/output.ts";
import { directoriesOf, stateDirArg } from "../directory-args.ts";
import { dropRoot } from "../drop-root.ts";
import { parseLabels } from "../labels.ts";
import { readToken } from "../token-source.ts";

const SEEN =
  "A token on the command line stays in the shell's history, and every user of this host can see it with ps. --token-file keeps it private.";

export const activateCommand = command({
  meta: {
    description:
      "Redeems an activation token at a Control Plane. A mistyped token is caught before anything is sent; a server that is not the one the token names is told nothing. Run it as the agent's user.",
    examples: [
      "agentina activate --url https://control.example.com",
      "agentina activate --url https://control.example.com --token-file token.txt",
      "agentina activate --url http://127.0.0.1:8080 --token-file - < token.txt",
    ],
    trustVariables: "by-url",
  },
  args: {
    url: { type: "string", valueHint: "URL", required: true, description: "The Control Plane" },
    "token-file": {
      type: "string",
      valueHint: "FILE",
      description: "Read the token from FILE, - for standard input (default: ask on the terminal)",
    },
    token: {
      type: "string",
      valueHint: "TOKEN",
      description: "The token itself; other users of the host can see it",
    },
    label: {
      type: "string",
      valueHint: "KEY=VALUE",
      many: true,
      description: "A label the Control Plane keeps with this agent",
    },
    force: { type: "boolean", description: "Replace an activation that is still good" },
    ...stateDirArg,
    json: { type: "boolean", description: "Print one JSON object" },
  },
  run: async (args, terminal) => {
    const dirs = directoriesOf(args, process.env);
    const labels = parseLabels(args.label, "agentina activate");
    const url = controlPlaneUrl(args.url);
    refuseForeignTrust(url, process.env);
    giveRootAway(dirs, url);
    const bundle = await checkOwnBundle(BUILD);
    if (args.token !== undefined) (await notices(terminal)).warn(SEEN);
    const token = readToken({ token: args.token, tokenFile: args["token-file"] });
    const result = await activate(
      { url, token, force: args.force, labels, dirs, version: BUILD.version, hostname: hostName() },
      {
        transport: httpTransport,
        clock: { wallMs: Date.now, bootMs },
        random: systemRandom,
        fingerprint: (salt) => makeFingerprint(readIdentityFacts().raw, salt),
      },
    );
    if (bundle.verdict === "unverified") {
      (await notices(terminal)).warn(
        `This binary is unverified (${bundle.why}): "agentina run" will refuse.`,
      );
    }
    if (args.json) terminal.out(jsonLine(result));
    else show(result, dirs, terminal);
    return EXIT.OK;
  },
});

/** The state made here is the agent's: made by root, the agent could not use it. */
function giveRootAway(dirs: Directories, url: string): void {
  if (dropRoot(dirs.stateDir, process) !== "nobody") return;
  const again = ["agentina", "activate", "--url", url, "--state-dir", dirs.stateDir];
  throw fault("ACTIVATE_AS_ROOT", { path: dirs.stateDir, command: shellWords(again) });
}

function show(
  { agent_id, url, license, slot }: ActivationResult,
  dirs: Directories,
  terminal: Terminal,
): void {
  const place = slot.held
    ? `held (${slot.max_agents} agents at most)`
    : `waiting${slot.position === undefined ? "" : `, number ${slot.position} in the queue`}: the account runs ${slot.max_agents} agents at most`;
  const until = new Date(license.exp * 1000).toISOString();
  const run = ["agentina", "run", "--state-dir", dirs.stateDir];
  const rows = [
    ["Agent", agent_id],
    ["Control Plane", url],
    ["License", `plan "${license.plan}", until ${until}, renewed by itself`],
    [
      "At once",
      `${license.max_concurrent_tasks_per_agent} jobs of the kinds ${license.kinds.join(", ") || "(none)"}`,
    ],
    ["Slot", place],
    ["Next", shellWords(dirs.stateDir === "/var/lib/agentina" ? run.slice(0, 2) : run)],
  ];
  terminal.out("This host is activated.\n");
  terminal.out(rows.map(([name = "", value = ""]) => `  ${name.padEnd(14)}${value}\n`).join(""));
}
