import { relative, resolve } from "node:path";
import { EXIT } from "../../../fault/exit.ts";
import { fault } from "../../../fault/fault.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine } from "../../../terminal/output.ts";
import { tokenThumbprint } from "../../../trust/keys.ts";
import { type DataPaths, dataPaths, lockDataDirectory, prepareDataDirectory } from "../../data/data-dir.ts";
import { LedgerFile } from "../../data/ledger.ts";
import { exists, keyPaths, readTrustDocument } from "../../keys/key-files.ts";
import { createKeys } from "../../keys/keyring.ts";
import { rootKeyIn } from "../../keys/root-key.ts";
import { dataDirArg, dataDirOf } from "../connection.ts";

const INIT = "agentina-control init";

export const initCommand = command({
  meta: {
    description:
      "Sets up the keys of a new Control Plane before its first start. With --root-key the trust root's key is kept in that file, made unless it is there: take it off this machine afterwards. The data directory keeps its public half only, and every key set is signed by hand: keys request, keys sign, keys install.",
    examples: [`${INIT} --data-dir ./control --root-key /media/usb/agentina-root.pem`],
    trustVariables: "harmless",
  },
  args: {
    ...dataDirArg,
    "root-key": {
      type: "string",
      valueHint: "FILE",
      description: "The trust root's key, outside the data directory (default: in it)",
    },
    json: { type: "boolean", description: "Print one JSON object" },
  },
  run: async (args, terminal) => {
    const paths = dataPaths(dataDirOf(args, process.env));
    const rootFile = args["root-key"] === undefined ? null : resolve(args["root-key"]);
    if (rootFile !== null) requireOutside(rootFile, paths);
    const made = await setUp(paths, rootFile);
    const { root } = await readTrustDocument(keyPaths(paths.keys).trust);
    const tokenForm = await tokenThumbprint(root);
    if (args.json) {
      const facts = { data_dir: paths.root, root: tokenForm, root_key: rootFile, root_key_made: made };
      terminal.out(jsonLine(facts));
      return EXIT.OK;
    }
    const where = rootFile === null ? "in the data directory" : `${made ? "made" : "used"} in ${rootFile}`;
    terminal.out(
      `Keys of a new Control Plane are in ${paths.keys}.\nTrust root ${tokenForm}, its key ${where}.\n${
        rootFile === null ? "" : "Take that file off this machine and keep it safe: it cannot be replaced.\n"
      }Start it: agentina-control serve --data-dir ${paths.root}\n`,
    );
    return EXIT.OK;
  },
});

/** Answers whether the root's key was made now. */
async function setUp(paths: DataPaths, rootFile: string | null): Promise<boolean> {
  await prepareDataDirectory(paths.root);
  const lock = await lockDataDirectory(paths);
  try {
    if (await exists(paths.keys)) throw fault("CONTROL_ALREADY_SET_UP", { path: paths.root });
    const root = rootFile === null ? null : await rootKeyIn(rootFile);
    await createKeys(paths.keys, {
      nowS: Math.floor(Date.now() / 1000),
      random: (count) => crypto.getRandomValues(new Uint8Array(count)),
      ledger: LedgerFile.open(paths.ledger),
      rootKey: root?.key ?? null,
    });
    return root?.made ?? true;
  } finally {
    lock.release();
  }
}

function requireOutside(file: string, paths: DataPaths): void {
  const inside = relative(paths.root, file);
  if (inside.startsWith("..")) return;
  const why = "it must lie outside the data directory";
  throw fault("CLI_BAD_VALUE", { flag: "--root-key", value: file, why, command: INIT });
}
