import { EXIT } from "../../../fault/exit.ts";
import { fault } from "../../../fault/fault.ts";
import { KEYS_API, KeyListSchema, KeyRequestSchema } from "../../../protocol/api-keys.ts";
import { KEY_USES, type KeyUse } from "../../../protocol/trust.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine, type Terminal } from "../../../terminal/output.ts";
import { makeNewFile } from "../../data/new-file.ts";
import { type ConnectionArgs, connect, connectionArgs } from "../connection.ts";
import { renderKeys } from "../render-keys.ts";

const LIST = "agentina-control keys list";
const ROTATE = "agentina-control keys rotate";
const REVOKE = "agentina-control keys revoke";
const REQUEST = "agentina-control keys request";

const useArg = {
  use: {
    type: "enum",
    options: [...KEY_USES, "all"],
    default: "all",
    description: "Whose keys get successors",
  },
  now: {
    type: "boolean",
    description: "The successors sign at once; else in seven days, when every agent knows them",
  },
} as const;

export const listKeysCommand = command({
  meta: {
    description:
      "Shows the trust root, the key set with its number and end, every key with its window and who signs now, and what asks for a person.",
    examples: [LIST, `${LIST} --json`],
    trustVariables: "by-url",
  },
  args: connectionArgs,
  run: async (args, terminal) => {
    const client = await connect(args, process.env, LIST);
    show(await client.json({ method: "GET", path: KEYS_API.keys }, KeyListSchema), args.json, terminal);
    return EXIT.OK;
  },
});

export const rotateKeysCommand = command({
  meta: {
    description:
      "Makes successors for the signing keys. They are published at once and sign once seven days have passed, or now; what the old ones signed stays good. Needs the trust root on the server; without it, see keys request.",
    examples: [ROTATE, `${ROTATE} --use job`, `${ROTATE} --use license --now`],
    trustVariables: "by-url",
  },
  args: { ...useArg, ...connectionArgs },
  run: async (args, terminal) => {
    await change(KEYS_API.rotate, { uses: usesOf(args.use), now: args.now }, args, terminal, ROTATE);
    return EXIT.OK;
  },
});

export const revokeKeyCommand = command({
  meta: {
    description:
      "Makes a key good for nothing from now on. Agents learn it with their next heartbeat; licenses it signed are replaced by then, and another key signs in its place.",
    examples: [`${REVOKE} 3k2…43-characters…Qw --reason "server was broken into"`],
    trustVariables: "by-url",
  },
  args: {
    kid: { type: "positional", description: "The key's id, as keys list shows it" },
    reason: { type: "string", valueHint: "TEXT", required: true, description: "Why; kept in the ledger" },
    ...connectionArgs,
  },
  run: async (args, terminal) => {
    const { reason } = args;
    await change(KEYS_API.revoke, { kid: kidOf(args.kid, "KID", REVOKE), reason }, args, terminal, REVOKE);
    return EXIT.OK;
  },
});

export const requestKeysCommand = command({
  meta: {
    description:
      "Makes the keys of the next key set and writes down what the trust root has to sign: public halves and windows, enough for 90 days. For a server whose root key is kept elsewhere.",
    examples: [
      `${REQUEST} --out request.json`,
      `${REQUEST} --rotate job --out request.json`,
      `${REQUEST} --revoke 3k2…43-characters…Qw --out request.json`,
    ],
    trustVariables: "by-url",
  },
  args: {
    out: { type: "string", valueHint: "FILE", required: true, description: "Where to write the request" },
    rotate: {
      type: "enum",
      options: [...KEY_USES, "all"],
      description: "Keys of this use get successors before their time",
    },
    now: useArg.now,
    revoke: { type: "string", valueHint: "KID", many: true, description: "A key that is good for nothing" },
    ...connectionArgs,
  },
  run: async (args, terminal) => {
    const ask = {
      rotate: args.rotate === undefined ? [] : usesOf(args.rotate),
      now: args.now,
      revoke: args.revoke.map((kid) => kidOf(kid, "--revoke", REQUEST)),
    };
    const client = await connect(args, process.env, REQUEST);
    const request = await client.json(
      { method: "POST", path: KEYS_API.request, json: ask },
      KeyRequestSchema,
    );
    await makeNewFile(args.out, (file) => file.write(`${JSON.stringify(request, null, 2)}\n`));
    const { seq, exp } = request.claims;
    if (args.json) terminal.out(jsonLine({ out: args.out, seq, exp, root: request.root }));
    else {
      terminal.out(
        `Key set number ${seq} waits for the root's signature in ${args.out}.\nSign it where the root key lies: agentina-control keys sign ${args.out} --root-key FILE --out signed.json\n`,
      );
    }
    return EXIT.OK;
  },
});

/** A key id: 43 base64url characters. Throws CLI_BAD_VALUE. */
function kidOf(value: string, flag: string, title: string): string {
  if (/^[A-Za-z0-9_-]{43}$/.test(value)) return value;
  throw fault("CLI_BAD_VALUE", { flag, value, why: "a key's id has 43 characters", command: title });
}

const usesOf = (use: string): readonly KeyUse[] =>
  use === "all" ? KEY_USES : KEY_USES.filter((known) => known === use);

/** Posts a change and shows the keys as they are then. */
async function change(
  path: string,
  body: object,
  args: ConnectionArgs & { readonly json: boolean },
  terminal: Terminal,
  title: string,
): Promise<void> {
  const client = await connect(args, process.env, title);
  show(await client.json({ method: "POST", path, json: body }, KeyListSchema), args.json, terminal);
}

function show(list: Parameters<typeof renderKeys>[0], json: boolean, terminal: Terminal): void {
  terminal.out(json ? jsonLine(list) : renderKeys(list, terminal.colour.out));
}
