import { existsSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { fault } from "../../fault/fault.ts";
import type { Plan } from "../../protocol/api.ts";
import { decodeBase64url, encodeBase64url } from "../../protocol/base64url.ts";
import { type AccountId, newAccountId, type RandomBytes } from "../../protocol/ids.ts";
import { createApp } from "../api/app.ts";
import { ROUTE_TABLE } from "../api/route-table.ts";
import type { Services } from "../api/services.ts";
import { DpopNonces } from "../auth/dpop-nonce.ts";
import { SeenProofs } from "../auth/seen-proofs.ts";
import { finishRestore } from "../backup/finish-restore.ts";
import { startHold } from "../backup/hold.ts";
import { beatApplier } from "../beat/apply-beats.ts";
import type { BeatInput, BeatOutcome } from "../beat/beat-input.ts";
import { adminKey } from "../data/admin-key.ts";
import { BlobFiles } from "../data/blob-files.ts";
import { type DataPaths, lockDataDirectory, prepareDataDirectory } from "../data/data-dir.ts";
import { writeDurably } from "../data/durable-file.ts";
import { LedgerFile } from "../data/ledger.ts";
import { LogFiles } from "../data/log-files.ts";
import { type KeySource, openKeys } from "../keys/keyring.ts";
import { expireLicenses, revokedLicenseKeys } from "../keys/revoked-licenses.ts";
import { warnOfKeys } from "../keys/warn.ts";
import { JobWatch } from "../live/job-watch.ts";
import { Serial } from "../live/serial.ts";
import { WakeLines } from "../live/wake-lines.ts";
import { openVault, type SecretVault } from "../secrets/vault.ts";
import { type Settings, settingsFor } from "../settings.ts";
import { defaultAccount, metaValue } from "../store/accounts.ts";
import { countSecrets } from "../store/secrets.ts";
import { openStore, type Store } from "../store/store.ts";
import { isLoopback, type ListenAddress, listen, localUrl } from "./listen.ts";
import type { Log } from "./log.ts";
import { startSweeping } from "./sweep.ts";

export interface ServeOptions {
  readonly dataDir: string;
  readonly listen: ListenAddress;
  /** Origin agents use; null for the address listened on, which must be loopback then. */
  readonly publicUrl: string | null;
  readonly intervalS: number;
  readonly maxWakes: number;
  readonly log: Log;
  readonly nowMs: () => number;
  readonly random: RandomBytes;
}

/** A Control Plane that answers. */
export interface RunningControlPlane {
  /** Origin on this host. */
  readonly url: string;
  readonly publicUrl: string;
  readonly paths: DataPaths;
  readonly accountId: AccountId;
  /** Finishes what is under way, closes the database and lets go of the data directory. */
  stop(): Promise<void>;
}

const FIRST_PLAN: Plan = {
  name: "default",
  max_agents: 10,
  max_concurrent_tasks_per_agent: 2,
  kinds: ["test.run"],
};

/**
 * Starts a Control Plane on a data directory, which gets its keys, its admin key and its database at the first start.
 * Throws CONTROL_DATA_DIR, CONTROL_DATA_LOCKED, CONTROL_KEY_UNUSABLE, CONTROL_DATABASE, CONTROL_LISTEN.
 */
export async function startControlPlane(options: ServeOptions): Promise<RunningControlPlane> {
  if (options.publicUrl === null && !isLoopback(options.listen)) {
    const { host, port } = options.listen;
    const why = "agents are to reach it by another name: give that with --public-url";
    throw fault("CONTROL_LISTEN", { address: `${host}:${port}`, why });
  }
  await using parts = new AsyncDisposableStack();
  const paths = await prepareDataDirectory(options.dataDir);
  const lock = await lockDataDirectory(paths);
  parts.defer(() => lock.release());
  await finishRestore(paths);
  const { nowMs, random, log } = options;
  const mayCreate = !existsSync(paths.installed);
  if (!mayCreate && !(statSync(paths.database, { throwIfNoEntry: false })?.size ?? 0)) {
    throw fault("CONTROL_DATABASE", {
      why: `"${paths.database}" is missing or empty; restore it from a backup`,
    });
  }
  const ledger = LedgerFile.open(paths.ledger);
  const keys = await openKeys(paths.keys, { mayCreate, random, nowS: Math.floor(nowMs() / 1000), ledger });
  const { vault, made } = await openVault(paths.secretsKey, random);
  const settings = settingsFor(options.intervalS);
  const { store, installation } = await openDatabase(paths, { keys, settings, random, nowMs, vault });
  parts.defer(() => store.close());
  if (made) await warnOfLostSecrets(store, log);
  const hold = await startHold({ write: (work) => store.write(work), settings, log, nowMs });
  parts.defer(() => hold.stop());
  parts.use(warnOfKeys(keys, log, nowMs));

  const stopping = new AbortController();
  const services: Omit<Services, "publicUrl"> = {
    store,
    keys,
    settings,
    era: installation.era,
    ledger,
    vault,
    operatorAccount: installation.accountId,
    adminKey: await adminKey(paths.adminKey, random, mayCreate),
    nonces: new DpopNonces(installation.nonceKey),
    seen: new SeenProofs(),
    blobs: new BlobFiles(paths.blobs),
    logs: new LogFiles(paths.logs),
    logTurns: new Serial(),
    wakes: new WakeLines(options.maxWakes),
    watch: new JobWatch(),
    log,
    nowMs,
    random,
    stopping: stopping.signal,
  };
  if (mayCreate) await writeDurably(paths.installed, "");
  const { url, publicUrl, sweeping } = open(options, services, parts);
  await writeDurably(paths.serve, `${JSON.stringify({ url, pid: process.pid })}\n`);
  parts.defer(() => rm(paths.serve, { force: true }));
  parts.defer(async () => {
    stopping.abort();
    services.watch.tellAll();
    services.wakes.closeAll();
    await sweeping();
  });
  const running = parts.move();
  log("info", "serving", { url, public_url: publicUrl, trust_seq: keys.current().claims.seq });
  return {
    url,
    publicUrl,
    paths,
    accountId: installation.accountId,
    stop: () => running.disposeAsync(),
  };
}

/** Raised when a database is brought back from a backup, so that agents know of it. */
const FIRST_ERA = 1;

/** Listens and starts what goes by the clock; the URL it is asked by is known only now that the port is. */
function open(options: ServeOptions, services: Omit<Services, "publicUrl">, parts: AsyncDisposableStack) {
  let app: ReturnType<typeof createApp> | null = null;
  const listener = listen(options.listen, (request, bindings) =>
    app === null ? new Response(null, { status: 503 }) : app.fetch(request, bindings),
  );
  parts.defer(() => listener.drain());
  const url = localUrl(options.listen, listener.port);
  const publicUrl = options.publicUrl ?? url;
  app = createApp(ROUTE_TABLE, { ...services, publicUrl });
  const sweeping = startSweeping({ ...services, publicUrl });
  return { url, publicUrl, sweeping };
}

/** A key made anew opens nothing that another one sealed: a backup brought back has secrets and not their key. */
async function warnOfLostSecrets({ db }: Store<BeatInput, BeatOutcome>, log: Log): Promise<void> {
  const secrets = await countSecrets(db);
  if (secrets > 0) log("warn", "secrets must be set again: their key is gone", { secrets });
}

interface Foundation {
  readonly keys: KeySource;
  readonly settings: Settings;
  readonly random: RandomBytes;
  readonly nowMs: () => number;
  readonly vault: SecretVault;
}

interface Installation {
  readonly era: number;
  readonly accountId: AccountId;
  readonly nonceKey: Uint8Array;
}

async function openDatabase(
  paths: DataPaths,
  { keys, settings, random, nowMs, vault }: Foundation,
): Promise<{ store: Store<BeatInput, BeatOutcome>; installation: Installation }> {
  // Known once the database is open, before anything beats.
  const deps = { keys, settings, era: FIRST_ERA as number, random, vault };
  const store = await openStore(paths.database, beatApplier(deps));
  try {
    const installation = await store.write(async (db) => {
      const issuer = keys.current().claims.iss;
      const known = await metaValue(db, "control_plane_id", () => issuer);
      if (known !== issuer) {
        const why = `they are of the Control Plane "${issuer}", the database is of "${known}"`;
        throw fault("CONTROL_KEY_UNUSABLE", { path: paths.keys, why });
      }
      const era = Number(await metaValue(db, "era", () => String(FIRST_ERA)));
      await expireLicenses(db, revokedLicenseKeys(keys.current().claims));
      const nonceKey = await metaValue(db, "dpop_nonce_key", () => encodeBase64url(random(32)));
      const make = () => ({ id: newAccountId(random), plan: FIRST_PLAN });
      const accountId = await defaultAccount(db, make, nowMs());
      return { era, accountId, nonceKey: decodeBase64url(nonceKey) ?? new Uint8Array() };
    });
    deps.era = installation.era;
    return { store, installation };
  } catch (error) {
    await store.close();
    throw error;
  }
}
