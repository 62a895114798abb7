import { EXIT } from "../../../fault/exit.ts";
import { fault } from "../../../fault/fault.ts";
import { LIMITS } from "../../../protocol/limits.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine, type Terminal } from "../../../terminal/output.ts";
import { type ListenAddress, parseListen } from "../../serve/listen.ts";
import { jsonLog, LOG_LEVELS, type LogLevel } from "../../serve/log.ts";
import { type RunningControlPlane, startControlPlane } from "../../serve/start.ts";
import { SETTINGS } from "../../settings.ts";
import { dataDirArg, dataDirOf } from "../connection.ts";
import { numberArg } from "../number-arg.ts";

const TITLE = "agentina-control serve";

export const serveCommand = command({
  meta: {
    description:
      "Runs a Control Plane on a data directory until SIGTERM or SIGINT. The first start makes the directory with its keys, its admin key and its database. Agents elsewhere reach it through a TLS proxy, named with --public-url.",
    examples: [
      "agentina-control serve --data-dir ./control",
      "agentina-control serve --data-dir ./control --listen 127.0.0.1:0 --json",
      "agentina-control serve --listen 127.0.0.1:7070 --public-url https://control.example.com",
    ],
    trustVariables: "harmless",
  },
  args: {
    ...dataDirArg,
    listen: {
      type: "string",
      valueHint: "HOST:PORT",
      default: "127.0.0.1:7070",
      description: "Where to listen; port 0 takes a free one",
    },
    "public-url": {
      type: "string",
      valueHint: "URL",
      description: "Origin by which agents reach it (default: where it listens)",
    },
    interval: {
      type: "string",
      valueHint: "SECONDS",
      default: String(LIMITS.BEAT_INTERVAL_S),
      description: "Time between an agent's heartbeats",
    },
    "max-wakes": {
      type: "string",
      valueHint: "N",
      default: String(SETTINGS.WAKES),
      description: "Agents that may keep a wake-up line open",
    },
    "log-level": {
      type: "enum",
      options: LOG_LEVELS,
      default: "info",
      description: "Least level of the JSON lines on standard error",
    },
    json: { type: "boolean", description: "Print the address as one JSON object" },
  },
  run: async (args, terminal) => {
    const log = jsonLog(args["log-level"] as LogLevel, terminal.err, Date.now);
    const ended = signalled();
    const umask = process.umask(0o077); // the database makes its files by itself, and they are nobody else's business
    try {
      const running = await startControlPlane({
        dataDir: dataDirOf(args, process.env),
        listen: listenOf(args.listen),
        publicUrl: args["public-url"] === undefined ? null : publicOrigin(args["public-url"]),
        intervalS: numberArg(args.interval, "--interval", TITLE, {
          min: LIMITS.BEAT_INTERVAL_MIN_S,
          max: LIMITS.BEAT_INTERVAL_MAX_S,
        }),
        maxWakes: numberArg(args["max-wakes"], "--max-wakes", TITLE, { min: 0, max: 1_000_000 }),
        log,
        nowMs: Date.now,
        random: (count) => crypto.getRandomValues(new Uint8Array(count)),
      });
      await using _stopped = { [Symbol.asyncDispose]: () => running.stop() };
      announce(running, args.json, terminal);
      log("info", "stopping", { signal: await ended });
    } finally {
      process.umask(umask);
    }
    return EXIT.OK;
  },
});

/** Resolves with the first signal that asks the process to end. Listening begins at once. */
function signalled(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => resolve(signal));
  });
}

function announce(
  { url, publicUrl, paths, accountId }: RunningControlPlane,
  json: boolean,
  terminal: Terminal,
) {
  if (json) {
    const facts = { url, public_url: publicUrl, data_dir: paths.root, account_id: accountId };
    terminal.out(jsonLine({ ...facts, pid: process.pid }));
    return;
  }
  const also = publicUrl === url ? "" : `, for agents ${publicUrl}`;
  terminal.out(`Control Plane at ${url}${also} (data in ${paths.root})\n`);
}

function listenOf(value: string): ListenAddress {
  const address = parseListen(value);
  if (address !== null) return address;
  const why = "it must be HOST:PORT, an IPv6 address in brackets";
  throw fault("CLI_BAD_VALUE", { flag: "--listen", value, why, command: TITLE });
}

function publicOrigin(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : null;
  const bare = url !== null && value.replace(/\/$/, "") === url.origin;
  if (bare && /^https?:$/.test(url.protocol)) return url.origin;
  const why = "it must be an http:// or https:// URL without a path";
  throw fault("CLI_BAD_VALUE", { flag: "--public-url", value, why, command: TITLE });
}
