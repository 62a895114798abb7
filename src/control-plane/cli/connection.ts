import * as v from "valibot";
import { fault } from "../../fault/fault.ts";
import { parseDocument } from "../../protocol/json.ts";
import { refuseForeignTrust } from "../../terminal/environment.ts";
import { parseAdminKey } from "../data/admin-key.ts";
import { dataPaths } from "../data/data-dir.ts";
import { readPrivateFile } from "../data/durable-file.ts";
import { ApiClient } from "./api-client.ts";

const DEFAULT_DATA_DIR = "/var/lib/agentina-control";
const DATA_DIR_VARIABLE = "AGENTINA_CONTROL_DATA_DIR";

type Environment = Readonly<Record<string, string | undefined>>;

export const dataDirArg = {
  "data-dir": {
    type: "string",
    valueHint: "DIR",
    description: `The Control Plane's directory (default: $${DATA_DIR_VARIABLE}, else ${DEFAULT_DATA_DIR})`,
  },
} as const;

/** Options of every command that asks a running Control Plane. */
export const connectionArgs = {
  ...dataDirArg,
  url: { type: "string", valueHint: "URL", description: "A Control Plane elsewhere; needs --key-file" },
  "key-file": {
    type: "string",
    valueHint: "FILE",
    description: "File with the admin key (default: admin.key of the data directory)",
  },
  json: { type: "boolean", description: "Print JSON" },
} as const;

export interface ConnectionArgs {
  readonly "data-dir": string | undefined;
  readonly url: string | undefined;
  readonly "key-file": string | undefined;
}

export const dataDirOf = (args: Pick<ConnectionArgs, "data-dir">, env: Environment): string =>
  args["data-dir"] ?? (env[DATA_DIR_VARIABLE] || DEFAULT_DATA_DIR);

/**
 * A client of the Control Plane the options name: the one serving the data directory, or the one at `--url`. Throws
 * CONTROL_NOT_SERVING, CONTROL_KEY_UNUSABLE, CLI_BAD_VALUE.
 */
export async function connect(args: ConnectionArgs, env: Environment, command: string): Promise<ApiClient> {
  if (args.url !== undefined && args["key-file"] === undefined && args["data-dir"] === undefined) {
    throw fault("CLI_MISSING_ARGUMENT", { command, argument: "--key-file FILE (with --url)" });
  }
  const paths = dataPaths(dataDirOf(args, env));
  const url = args.url === undefined ? await servedUrl(paths.serve, paths.root) : origin(args.url, command);
  refuseForeignTrust(url, env);
  return new ApiClient(url, await readKey(args["key-file"] ?? paths.adminKey));
}

const ServeFileSchema = v.strictObject({ url: v.pipe(v.string(), v.url()), pid: v.number() });

async function servedUrl(path: string, root: string): Promise<string> {
  const file = await readPrivateFile(path, 4096);
  if (!file.found) {
    throw fault("CONTROL_NOT_SERVING", { path: root, why: file.missing ? "nothing serves it" : file.why });
  }
  const parsed = parseDocument(file.bytes, ServeFileSchema);
  if (parsed.ok) return parsed.value.url;
  throw fault("CONTROL_NOT_SERVING", { path: root, why: `serve.json: ${parsed.path}: ${parsed.why}` });
}

function origin(text: string, command: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const plain = url?.pathname === "/" && url.search === "" && url.hash === "" && url.username === "";
  if (url === null || !plain || !/^https?:$/.test(url.protocol)) {
    const why = "it must be an http:// or https:// URL without a path";
    throw fault("CLI_BAD_VALUE", { flag: "--url", value: text, why, command });
  }
  const local = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(url.hostname);
  if (url.protocol === "http:" && !local) {
    const why = "the admin key would cross the network in the clear; use https";
    throw fault("WIRE_INSECURE_URL", { url: text, why });
  }
  return url.origin;
}

async function readKey(path: string): Promise<string> {
  const file = await readPrivateFile(path, 256);
  if (!file.found) throw fault("CONTROL_KEY_UNUSABLE", { path, why: file.why });
  return parseAdminKey(new TextDecoder().decode(file.bytes), path);
}
