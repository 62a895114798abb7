import type * as v from "valibot";
import { EXIT } from "../../../fault/exit.ts";
import { fault, reasonOf } from "../../../fault/fault.ts";
import { KEYS_API, KeyListSchema, type KeyRequest, KeyRequestSchema } from "../../../protocol/api-keys.ts";
import { type Parsed, parseDocument } from "../../../protocol/json.ts";
import { TrustDocumentSchema } from "../../../protocol/trust.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine } from "../../../terminal/output.ts";
import { makeNewFile } from "../../data/new-file.ts";
import { objectionTo, signRequest } from "../../keys/key-request.ts";
import { readRootKey } from "../../keys/root-key.ts";
import { requireYes } from "../ask.ts";
import { connect, connectionArgs } from "../connection.ts";
import { renderKeys, renderRequest } from "../render-keys.ts";

const SIGN = "agentina-control keys sign";
const INSTALL = "agentina-control keys install";
const FILE_BYTES = 131_072;

export const signKeysCommand = command({
  meta: {
    description:
      "Shows what a key request asks for and signs it with the trust root's key, after a yes. Works without a network and without a data directory, where the root key is kept. Keys and sets that would outlive their bounds are never signed.",
    examples: [`${SIGN} request.json --root-key root.pem --out signed.json`],
    trustVariables: "harmless",
  },
  args: {
    file: { type: "positional", description: "The request that keys request wrote" },
    "root-key": { type: "string", valueHint: "FILE", required: true, description: "The trust root's key" },
    out: {
      type: "string",
      valueHint: "FILE",
      required: true,
      description: "Where to write the signed key set",
    },
    yes: { type: "boolean", description: "Sign without asking" },
    json: { type: "boolean", description: "Print one JSON object" },
  },
  run: async (args, terminal) => {
    const request = await readRequest(args.file);
    const root = await readRootKey(args["root-key"]);
    if (root.kid !== request.root) {
      const why = `it is for the trust root ${request.root}, this key is ${root.kid}`;
      throw fault("ROOT_KEY_UNUSABLE", { path: args["root-key"], why });
    }
    terminal.err(renderRequest(request));
    if (!args.yes) await requireYes("Sign this key set?", terminal);
    const document = await signRequest(request, root);
    await makeNewFile(args.out, (file) => file.write(`${JSON.stringify(document)}\n`));
    const { seq, exp } = request.claims;
    if (args.json) terminal.out(jsonLine({ out: args.out, seq, exp, root: root.kid }));
    else {
      terminal.out(
        `Key set number ${seq} is signed, in ${args.out}.\nInstall it on the server: agentina-control keys install ${args.out}\n`,
      );
    }
    return EXIT.OK;
  },
});

export const installKeysCommand = command({
  meta: {
    description:
      "Installs a key set that was signed elsewhere: checked under the root the server has always had, newer than the one in force, its private keys on the server. Agents get it with their next heartbeat.",
    examples: [`${INSTALL} signed.json`],
    trustVariables: "by-url",
  },
  args: { file: { type: "positional", description: "The file that keys sign wrote" }, ...connectionArgs },
  run: async (args, terminal) => {
    const document = await readJson(args.file, TrustDocumentSchema);
    if (!document.ok)
      throw fault("KEY_SET_REFUSED", { why: `${args.file}: ${document.path}: ${document.why}` });
    const client = await connect(args, process.env, INSTALL);
    const request = { method: "POST", path: KEYS_API.install, json: document.value } as const;
    const list = await client.json(request, KeyListSchema);
    terminal.out(args.json ? jsonLine(list) : renderKeys(list, terminal.colour.out));
    return EXIT.OK;
  },
});

async function readRequest(path: string): Promise<KeyRequest> {
  const parsed = await readJson(path, KeyRequestSchema);
  if (!parsed.ok) throw fault("KEY_REQUEST_MALFORMED", { path, why: `${parsed.path}: ${parsed.why}` });
  const objection = objectionTo(parsed.value);
  if (objection !== null) throw fault("KEY_REQUEST_MALFORMED", { path, why: objection });
  return parsed.value;
}

async function readJson<S extends v.GenericSchema>(
  path: string,
  schema: S,
): Promise<Parsed<v.InferOutput<S>>> {
  const file = Bun.file(path);
  try {
    if (file.size > FILE_BYTES) return { ok: false, path: "(document)", why: "is too large" };
    return parseDocument(await file.bytes(), schema);
  } catch (error) {
    throw fault("CLI_INPUT_UNREADABLE", { path, why: reasonOf(error) }, error);
  }
}
