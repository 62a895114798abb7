import { parse, safeParse } from "valibot";
import { EXIT } from "../../../fault/exit.ts";
import { fault } from "../../../fault/fault.ts";
import { JOB_KINDS, JobKindSchema } from "../../../protocol/job.ts";
import { LabelsSchema } from "../../../protocol/scalars.ts";
import { EnvNameSchema } from "../../../protocol/scope.ts";
import {
  SECRETS_API,
  SecretListSchema,
  type SecretPut,
  SecretRemovedSchema,
  type SecretView,
  SecretViewSchema,
  secretValueProblem,
} from "../../../protocol/secret.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine } from "../../../terminal/output.ts";
import { connect, connectionArgs } from "../connection.ts";
import { readSecretValue } from "../secret-source.ts";
import { safeLine, table } from "../text.ts";

const SET = "agentina-control secret set";
const LIST = "agentina-control secret list";
const REMOVE = "agentina-control secret remove";

const nameArg = { type: "positional", description: "The variable in which a job's step finds it" } as const;

export const setSecretCommand = command({
  meta: {
    description:
      "Keeps a value that jobs can be given by its name. The value comes from a file, from standard input, or is typed unseen; never from the command line. Setting it again replaces the value; limits stay unless others are given.",
    examples: [
      `${SET} NPM_TOKEN`,
      `${SET} DEPLOY_KEY --from-file ./deploy_key --label pool=deploy`,
      `pass show npm | ${SET} NPM_TOKEN --kind test.run`,
    ],
    trustVariables: "by-url",
  },
  args: {
    name: nameArg,
    "from-file": {
      type: "string",
      valueHint: "FILE",
      description: "File with the value, - for standard input",
    },
    kind: {
      type: "string",
      valueHint: "KIND",
      many: true,
      description: "Only jobs of this kind may have it",
    },
    label: {
      type: "string",
      valueHint: "KEY=VALUE",
      many: true,
      description: "Only agents with this label are sent it",
    },
    unlimited: { type: "boolean", description: "For all kinds and agents, whatever was set before" },
    ...connectionArgs,
  },
  run: async (args, terminal) => {
    const name = nameOf(args.name, SET);
    const limits = limitsOf(args.kind, args.label, args.unlimited);
    const value = await readSecretValue(args["from-file"], SET);
    const why = secretValueProblem(value);
    if (why !== null) throw fault("SECRET_UNSUITABLE", { name, why });
    const client = await connect(args, process.env, SET);
    const put: SecretPut = { value, ...limits };
    const request = { method: "PUT", path: SECRETS_API.secret(name), json: put } as const;
    const secret = await client.json(request, SecretViewSchema);
    terminal.out(args.json ? jsonLine(secret) : `Secret ${secret.name} is set, for ${limitsText(secret)}.\n`);
    return EXIT.OK;
  },
});

export const listSecretsCommand = command({
  meta: {
    description: "Lists secrets: names, who may have them, when they were set. Values are never shown.",
    examples: [LIST, `${LIST} --json`],
    trustVariables: "by-url",
  },
  args: connectionArgs,
  run: async (args, terminal) => {
    const client = await connect(args, process.env, LIST);
    const list = await client.json({ method: "GET", path: SECRETS_API.secrets }, SecretListSchema);
    terminal.out(args.json ? jsonLine(list) : secretTable(list.secrets));
    return EXIT.OK;
  },
});

export const removeSecretCommand = command({
  meta: {
    description:
      "Removes a secret. Jobs that are queued and name it end refused; running ones keep what they have.",
    examples: [`${REMOVE} NPM_TOKEN`],
    trustVariables: "by-url",
  },
  args: { name: nameArg, ...connectionArgs },
  run: async (args, terminal) => {
    const name = nameOf(args.name, REMOVE);
    const client = await connect(args, process.env, REMOVE);
    const request = { method: "DELETE", path: SECRETS_API.secret(name) } as const;
    const removed = await client.json(request, SecretRemovedSchema);
    terminal.out(args.json ? jsonLine(removed) : `Secret ${removed.name} is removed.\n`);
    return EXIT.OK;
  },
});

function nameOf(text: string, title: string): string {
  const name = safeParse(EnvNameSchema, text);
  if (name.success) return name.output;
  const why = "a secret's name is that of a variable: letters, digits and _, no digit first";
  throw fault("CLI_BAD_VALUE", { flag: "NAME", value: text, why, command: title });
}

function limitsOf(kinds: readonly string[], labels: readonly string[], unlimited: boolean) {
  if (unlimited && kinds.length + labels.length > 0) {
    const why = "it cannot stand beside --kind and --label";
    throw fault("CLI_BAD_VALUE", { flag: "--unlimited", value: "", why, command: SET });
  }
  if (unlimited) return { kinds: [], labels: {} };
  return {
    ...(kinds.length === 0 ? {} : { kinds: kinds.map(kindOf) }),
    ...(labels.length === 0 ? {} : { labels: labelsOf(labels) }),
  };
}

function kindOf(value: string) {
  const kind = safeParse(JobKindSchema, value);
  if (kind.success) return kind.output;
  const why = `it must be one of ${JOB_KINDS.join(", ")}`;
  throw fault("CLI_BAD_VALUE", { flag: "--kind", value, why, command: SET });
}

function labelsOf(texts: readonly string[]): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const value of texts) {
    const equals = value.indexOf("=");
    const label = { [value.slice(0, Math.max(0, equals))]: value.slice(equals + 1) };
    if (equals < 1 || !safeParse(LabelsSchema, label).success) {
      const why = "it must be KEY=VALUE, the key in lower case";
      throw fault("CLI_BAD_VALUE", { flag: "--label", value, why, command: SET });
    }
    Object.assign(labels, label);
  }
  return parse(LabelsSchema, labels);
}

function secretTable(secrets: readonly SecretView[]): string {
  if (secrets.length === 0) return `There are no secrets. Set one: ${SET} NAME\n`;
  const rows = secrets.map((secret) => [
    secret.name,
    limitsText(secret),
    `${new Date(secret.updated_at).toISOString().slice(0, 16)}Z`,
    secret.readable ? "" : "cannot be opened: set it again",
  ]);
  return table([["NAME", "FOR", "SET", ""], ...rows]);
}

function limitsText({ kinds, labels }: SecretView): string {
  const agents = Object.entries(labels).map(([name, value]) => safeLine(`${name}=${value}`));
  return [
    kinds.length === 0 ? "all kinds" : kinds.join(", "),
    agents.length === 0 ? "all agents" : `agents with ${agents.join(", ")}`,
  ].join("; ");
}
