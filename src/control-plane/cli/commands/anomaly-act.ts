import * as v from "valibot";
import { EXIT } from "../../../fault/exit.ts";
import { fault } from "../../../fault/fault.ts";
import { type AnomalyAct, type AnomalyView, AnomalyViewSchema, API } from "../../../protocol/api.ts";
import { NonceSchema } from "../../../protocol/scalars.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine, type Terminal } from "../../../terminal/output.ts";
import { anomalyIdOf } from "../anomaly-id.ts";
import { type ConnectionArgs, connect, connectionArgs } from "../connection.ts";
import { safeLine } from "../text.ts";

const title = (act: AnomalyAct) => `agentina-control anomaly ${act}`;
const EXAMPLE_ID = "ano_0123456789abcdefghij";

const idArg = { id: { type: "positional", description: "The anomaly's id, ano_…" } } as const;
const reasonArg = {
  reason: { type: "string", valueHint: "TEXT", required: true, description: "Why; kept with it" },
} as const;
const instArg = {
  inst: {
    type: "string",
    valueHint: "PROCESS",
    description: 'The process that is meant, as "anomaly show" names it; needed when there are several',
  },
} as const;

interface Asked extends ConnectionArgs {
  readonly id: string;
  readonly json: boolean;
}

async function act(
  args: Asked,
  terminal: Terminal,
  what: AnomalyAct,
  request: object,
  said: (view: AnomalyView) => string,
) {
  const id = anomalyIdOf(args.id, title(what));
  const client = await connect(args, process.env, title(what));
  const path = API.anomalyAct(id, what);
  const view = await client.json({ method: "POST", path, json: request }, AnomalyViewSchema);
  terminal.out(args.json ? jsonLine(view) : `${safeLine(said(view))}\n`);
  return EXIT.OK;
}

/** The process as typed, if it was. Throws CLI_BAD_VALUE. */
function instOf(value: string | undefined, what: AnomalyAct): { inst?: string } {
  if (value === undefined) return {};
  if (v.is(NonceSchema, value)) return { inst: value };
  const why = "a process is named by 22 letters, digits, - and _";
  throw fault("CLI_BAD_VALUE", { flag: "--inst", value, why, command: title(what) });
}

export const recoverCommand = command({
  meta: {
    description:
      "Lets one process of a quarantined agent go on. It is told so with its next heartbeat, makes new keys, and from then on the old ones are good for nothing, whoever has them. With several processes, name the original; when there is only one it is meant.",
    examples: [
      `${title("recover")} ${EXAMPLE_ID} --reason "the copy is switched off"`,
      `${title("recover")} ${EXAMPLE_ID} --inst wq0Yb1nDk2e7Qq3u5h1s9A --rebind --reason "new main board"`,
    ],
    trustVariables: "by-url",
  },
  args: {
    ...idArg,
    ...instArg,
    rebind: { type: "boolean", description: "Accept the machine it runs on as the agent's as well" },
    ...reasonArg,
    ...connectionArgs,
  },
  run: (args, terminal) => {
    const request = { ...instOf(args.inst, "recover"), rebind: args.rebind, reason: args.reason };
    return act(args, terminal, "recover", request, ({ instances, agent }) => {
      const picked = instances.find((one) => one.picked);
      const where = picked === undefined ? "" : ` on "${picked.hostname}" (${picked.address})`;
      return `Process ${picked?.inst ?? ""}${where} goes on as ${agent.id} once it has made new keys.`;
    });
  },
});

export const rebindCommand = command({
  meta: {
    description:
      "Accepts the machine a process last showed as the one the agent belongs to. The license says so with the next heartbeat. A quarantined agent is recovered besides.",
    examples: [`${title("rebind")} ${EXAMPLE_ID} --reason "new disk and network card"`],
    trustVariables: "by-url",
  },
  args: { ...idArg, ...instArg, ...reasonArg, ...connectionArgs },
  run: (args, terminal) => {
    const request = { ...instOf(args.inst, "rebind"), reason: args.reason };
    return act(args, terminal, "rebind", request, ({ agent }) => {
      const more =
        agent.standing === "quarantined" ? ' It is still quarantined: "anomaly recover" ends that.' : "";
      return `${agent.id} belongs to this machine now.${more}`;
    });
  },
});

export const resealCommand = command({
  meta: {
    description:
      "Lets an agent take its state files as they are. Look at the evidence first: whoever changed them keeps his change. Files that do not belong there are never accepted.",
    examples: [`${title("reseal")} ${EXAMPLE_ID} --reason "restored license.jwt by hand"`],
    trustVariables: "by-url",
  },
  args: { ...idArg, ...reasonArg, ...connectionArgs },
  run: (args, terminal) =>
    act(args, terminal, "reseal", { reason: args.reason }, ({ agent }) => {
      return `${agent.id} is told to seal its files anew with its next heartbeat.`;
    }),
});

export const resolveCommand = command({
  meta: {
    description:
      "Closes an alarm that you have looked at. The same again opens another. What quarantines an agent is closed by a recovery only.",
    examples: [`${title("resolve")} ${EXAMPLE_ID} --reason "clock set"`],
    trustVariables: "by-url",
  },
  args: { ...idArg, ...reasonArg, ...connectionArgs },
  run: (args, terminal) =>
    act(args, terminal, "resolve", { reason: args.reason }, ({ id }) => `${id} is closed.`),
});
