import { EXIT } from "../../../fault/exit.ts";
import { BUILD } from "../../../terminal/build-info.ts";
import { command } from "../../../terminal/command.ts";
import { notices } from "../../../terminal/notices.ts";
import { jsonLine } from "../../../terminal/output.ts";
import { backUp } from "../../backup/back-up.ts";
import { restore } from "../../backup/restore.ts";
import { dataPaths } from "../../data/data-dir.ts";
import { dataDirArg, dataDirOf } from "../connection.ts";
import { byteCount } from "../text.ts";

const BACKUP = "agentina-control backup";
const RESTORE = "agentina-control restore";

export const backupCommand = command({
  meta: {
    description:
      "Copies a Control Plane, serving or not: database, keys, admin key, blobs and logs, each with its digest. A name that ends in .tar gives one file, any other a directory; nothing is ever overwritten. The ledger is not part of it: keep copies of ledger.jsonl apart.",
    examples: [
      `${BACKUP} --out /backup/control-monday.tar`,
      `${BACKUP} --data-dir ./control --out ./copy --json`,
    ],
    trustVariables: "harmless",
  },
  args: {
    ...dataDirArg,
    out: { type: "string", valueHint: "FILE|DIR", required: true, description: "Where to write it" },
    json: { type: "boolean", description: "Print one JSON object" },
  },
  run: async (args, terminal) => {
    const paths = dataPaths(dataDirOf(args, process.env));
    const made = await backUp(paths, args.out, { version: BUILD.version, nowMs: Date.now() });
    const { files, missing, era } = made.manifest;
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    if (args.json) {
      terminal.out(
        jsonLine({ path: made.path, manifest_sha256: made.sha256, files: files.length, bytes, era, missing }),
      );
      return EXIT.OK;
    }
    terminal.out(
      `Backup in ${made.path}: ${files.length} files, ${byteCount(bytes)}, era ${era}\nManifest SHA-256 ${made.sha256}\n`,
    );
    const { info, warn } = await notices(terminal);
    if (missing.length > 0)
      warn(`${missing.length} files the database speaks of were gone, ${missing[0]} first.`);
    info("It holds every key of this Control Plane: keep it like one.");
    return EXIT.OK;
  },
});

export const restoreCommand = command({
  meta: {
    description:
      "Brings a Control Plane back from a backup: the only way its agents understand. Digests are checked first, tokens, keys and agents that ended since are ended again from the ledger, and the era is raised: agents join again by themselves, jobs that were open wait until those who have them have spoken. All or nothing.",
    examples: [
      `${RESTORE} --from /backup/control-monday.tar --data-dir ./control`,
      `${RESTORE} --from ./copy --data-dir ./control --in-place`,
      `${RESTORE} --from ./copy --data-dir ./new --ledger /backup/ledger.jsonl`,
    ],
    trustVariables: "harmless",
  },
  args: {
    from: { type: "string", valueHint: "FILE|DIR", required: true, description: "The backup" },
    ...dataDirArg,
    "in-place": {
      type: "boolean",
      description: "Replace the Control Plane that is there; it is put aside beside the new one",
    },
    ledger: {
      type: "string",
      valueHint: "FILE",
      description: "A saved ledger.jsonl, when the data directory has none",
    },
    json: { type: "boolean", description: "Print one JSON object" },
  },
  run: async (args, terminal) => {
    const umask = process.umask(0o077); // the database makes its files by itself
    try {
      const done = await restore({
        from: args.from,
        dataDir: dataDirOf(args, process.env),
        inPlace: args["in-place"],
        ledger: args.ledger ?? null,
        nowMs: Date.now(),
      });
      const { era, manifest, sha256, replayed, heldJobs, aside, ledgerFound } = done;
      const made = new Date(manifest.created_at).toISOString();
      if (args.json) {
        const facts = { era, backup_made_at: manifest.created_at, manifest_sha256: sha256, replayed };
        terminal.out(
          jsonLine({ ...facts, held_jobs: heldJobs, put_aside: aside, ledger_found: ledgerFound }),
        );
        return EXIT.OK;
      }
      const { tokens, agents, keys } = replayed;
      terminal.out(
        `Restored the backup of ${made} as era ${era}\nEnded again from the ledger: tokens ${tokens}, agents ${agents}, agent keys ${keys}\nOpen jobs held until those who have them have spoken: ${heldJobs}\n${
          aside === null ? "" : `What was there before is in ${aside}\n`
        }Start it: agentina-control serve --data-dir ${dataDirOf(args, process.env)}\n`,
      );
      if (!ledgerFound) {
        const { warn } = await notices(terminal);
        warn("There was no ledger: tokens, keys and agents that ended after the backup are good again.");
      }
      return EXIT.OK;
    } finally {
      process.umask(umask);
    }
  },
});
