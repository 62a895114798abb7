import type { AccountId, RandomBytes } from "../../protocol/ids.ts";
import type { DpopNonces } from "../auth/dpop-nonce.ts";
import type { SeenProofs } from "../auth/seen-proofs.ts";
import type { BeatInput, BeatOutcome } from "../beat/beat-input.ts";
import type { BlobFiles } from "../data/blob-files.ts";
import type { Ledger } from "../data/ledger.ts";
import type { LogFiles } from "../data/log-files.ts";
import type { KeySource } from "../keys/keyring.ts";
import type { JobWatch } from "../live/job-watch.ts";
import type { Serial } from "../live/serial.ts";
import type { WakeLines } from "../live/wake-lines.ts";
import type { SecretVault } from "../secrets/vault.ts";
import type { Log } from "../serve/log.ts";
import type { Settings } from "../settings.ts";
import type { Store } from "../store/store.ts";

/** Everything the routes work with. One value for the life of the server. */
export interface Services {
  readonly store: Store<BeatInput, BeatOutcome>;
  readonly keys: KeySource;
  readonly settings: Settings;
  readonly era: number;
  readonly ledger: Ledger;
  readonly vault: SecretVault;
  /** The account of whoever holds the admin key. */
  readonly operatorAccount: AccountId;
  readonly adminKey: string;
  /** Origin by which agents reach this server; proofs are made for it. */
  readonly publicUrl: string;
  readonly nonces: DpopNonces;
  readonly seen: SeenProofs;
  readonly blobs: BlobFiles;
  readonly logs: LogFiles;
  /** Appends to one log come one after the other. */
  readonly logTurns: Serial;
  readonly wakes: WakeLines;
  readonly watch: JobWatch;
  readonly log: Log;
  readonly nowMs: () => number;
  readonly random: RandomBytes;
  /** Ends when the server stops taking requests. */
  readonly stopping: AbortSignal;
}
