import type { Kysely, Selectable, Transaction } from "kysely";
import type { AnomalyKind, JobState } from "../../protocol/api.ts";
import type { AccountId, AgentId, JobId, Sha256 } from "../../protocol/ids.ts";
import type { OrderType } from "../../protocol/order.ts";
import type { Outcome } from "../../protocol/outcome.ts";
import type { AgentState } from "../../protocol/wire.ts";

/*
 * Texts and integers only, so that SQLite and PostgreSQL hold the same rows: times are milliseconds since the Unix
 * epoch (license times seconds), flags 0 or 1, structures JSON texts. Every table but `meta`, which speaks of the
 * installation, carries the account its rows belong to.
 */

interface MetaTable {
  key: string;
  value: string;
}

interface AccountsTable {
  id: AccountId;
  name: string;
  /** JSON of a `Plan`. */
  plan: string;
  created_at: number;
}

interface ActivationTokensTable {
  id: string;
  account_id: AccountId;
  secret_sha256: string;
  label: string;
  created_at: number;
  expires_at: number;
  revoked_at: number | null;
  /** Thumbprint of the key that redeemed it. */
  redeemed_by: string | null;
  redeemed_at: number | null;
  agent_id: AgentId | null;
}

/** What changes seldom about an agent. */
interface AgentsTable {
  id: AgentId;
  account_id: AccountId;
  /** RFC 7638 thumbprint of the identity key. */
  jkt: string;
  /** The public halves, as the `x` of their JWKs. */
  identity_x: string;
  sealing_x: string;
  hostname: string;
  labels: string;
  fingerprint: string;
  weak: number;
  lic: string;
  epoch: number;
  license: string;
  /** JSON of the plan's terms in the license. */
  license_terms: string;
  license_iat: number;
  license_exp: number;
  /** Since when it holds a slot, or else waits for one. */
  slot_since: number | null;
  waiting_since: number | null;
  created_at: number;
  /** Era of the server in which the agent's chain was last known to go on from here. */
  era: number;
  /** Number of the last order given to the agent within its epoch. */
  order_seq: number;
  /** Since when it is quarantined; null when it is not. */
  quarantined_at: number | null;
  quarantine_reason: string | null;
  /** When it was told to end for good, and since when it has been heard to know. */
  terminated_at: number | null;
  end_reason: string | null;
  ended_at: number | null;
  /** Taken back after a restore on the word of its license; it gets no slot before an admin has confirmed it. */
  unconfirmed_since: number | null;
}

/** What every heartbeat changes. */
interface BeatsTable {
  agent_id: AgentId;
  account_id: AccountId;
  /** JSON of a `ChainState`. */
  chain: string;
  /** Body of the last reply, for the same request again. */
  reply: string | null;
  /** Number of the last offer signed for this agent. */
  offer_seq: number;
  /** Number of the key set the agent was last told. */
  trust_seq: number;
  state: AgentState | null;
  version: string;
  capacity: number;
  in_flight: number;
  /** JSON list of the kinds the agent advertises. */
  kinds: string;
  /** JSON of the host's and the program's facts as last told. */
  facts: string | null;
  last_beat_at: number | null;
  /** The process that beats: its name, since when, how often, from where. */
  inst: string | null;
  inst_since: number | null;
  inst_beats: number;
  address: string | null;
  /** Number of the seal and head of the receipt chain as last told within the epoch; 0 and null before. */
  seal_ctr: number;
  head_seq: number;
  head: Sha256 | null;
}

interface JobsTable {
  id: JobId;
  account_id: AccountId;
  kind: string;
  payload: string;
  scope: string;
  limits: string;
  blobs: string;
  on_lost: "requeue" | "fail";
  priority: number;
  idempotency_key: string | null;
  submission_sha256: Sha256;
  state: JobState;
  attempt: number;
  /** Who holds the current attempt: from its offer on, until it is queued again; kept when the job is finished. */
  agent_id: AgentId | null;
  /** The envelope last signed for the current attempt. */
  envelope_sha256: Sha256 | null;
  offered_at: number | null;
  lease_until: number | null;
  rejections: number;
  step: string | null;
  outcome: Outcome | null;
  reason: string | null;
  receipt_sha256: Sha256 | null;
  created_at: number;
  queued_at: number;
  started_at: number | null;
  finished_at: number | null;
  /** Why somebody cancelled it. */
  cancel_reason: string | null;
  /** JSON list of the names of the secrets it is given. */
  secrets: string;
}

/** Values for jobs, sealed under a key that is not in the database. */
interface SecretsTable {
  account_id: AccountId;
  name: string;
  box: string;
  /** JSON list of the kinds of jobs that may have it, and JSON of the labels an agent must carry; empty for any. */
  kinds: string;
  labels: string;
  updated_at: number;
}

interface ReceiptsTable {
  sha256: Sha256;
  account_id: AccountId;
  agent_id: AgentId;
  job_id: JobId;
  attempt: number;
  seq: number;
  prev_sha256: Sha256;
  jws: string;
  /** 1 for the one that decided its job. */
  decided: number;
  received_at: number;
}

/** One stream of one attempt. The row is made when the attempt gets its lease, and says who may append. */
interface LogsTable {
  job_id: JobId;
  attempt: number;
  stream: string;
  account_id: AccountId;
  agent_id: AgentId;
  /** Bytes acknowledged; the file may be longer after a crash, and is cut to this. */
  size: number;
  limit_bytes: number;
  /** From the receipt. */
  expected_size: number | null;
  expected_sha256: Sha256 | null;
  verified: number | null;
  receipt_at: number | null;
}

interface BlobsTable {
  account_id: AccountId;
  sha256: Sha256;
  size: number;
  created_at: number;
}

/** Proofs seen, until they are too old to be accepted anyway. */
interface DpopProofsTable {
  /** Thumbprint of the key and `jti`. */
  proof: string;
  account_id: AccountId;
  expires_at: number;
}

/** What an agent is told to do, numbered within its epoch. */
interface OrdersTable {
  agent_id: AgentId;
  epoch: number;
  seq: number;
  account_id: AccountId;
  type: OrderType;
  /** JSON of an `Order`. */
  body: string;
  reason: string;
  given_by: string;
  given_at: number;
  delivered_at: number | null;
  /** `open` until the agent says it has taken it, another one takes its place, or its epoch is over. */
  state: "open" | "taken" | "superseded" | "void";
  settled_at: number | null;
}

/** A process that spoke for an agent: the evidence by which an admin tells an original from a copy. */
interface InstancesTable {
  agent_id: AgentId;
  inst: string;
  account_id: AccountId;
  epoch: number;
  address: string;
  boot: string;
  hostname: string;
  version: string;
  state: AgentState;
  /** JSON of the fingerprint it last showed, and of the components it could not read. */
  fingerprint: string;
  unread: string;
  seal_ctr: number;
  head_seq: number;
  first_at: number;
  last_at: number;
  beats: number;
}

/** Identity keys that agents had before they were recovered. */
interface RetiredKeysTable {
  jkt: string;
  account_id: AccountId;
  agent_id: AgentId;
  identity_x: string;
  /** Epoch in which it was the agent's key, number of the order that ended that, and the key that followed. */
  epoch: number;
  recover_seq: number;
  successor: string;
  retired_at: number;
  /** The last license that was bound to it: proves whose its receipts are. Null for keys retired before it was kept. */
  license: string | null;
}

/**
 * Jobs that were open in a backup when it was brought back: somebody may have them, or may have had them since. They are
 * not in the queue (`notHeld` of store/held-jobs.ts) until an agent that names one adopts it
 * (`adopt` of queue/held-jobs.ts) or the time for that is over.
 */
interface HeldJobsTable {
  job_id: JobId;
  account_id: AccountId;
}

/** Agents and keys that ended after the backup this database comes from, and are not in it: never taken back. */
interface BarredTable {
  kind: "agent" | "key";
  name: string;
  account_id: AccountId;
  since: number;
}

/** Things that should not happen: a case for each kind and agent, in which the same again is counted. */
interface AnomaliesTable {
  id: string;
  account_id: AccountId;
  agent_id: AgentId;
  kind: AnomalyKind;
  epoch: number;
  /** JSON: what was found first, and the latest few times. */
  evidence: string;
  count: number;
  first_at: number;
  last_at: number;
  state: "open" | "resolved";
  resolved_at: number | null;
  resolved_by: string | null;
  resolution: string | null;
}

export interface Tables {
  meta: MetaTable;
  accounts: AccountsTable;
  activation_tokens: ActivationTokensTable;
  agents: AgentsTable;
  beats: BeatsTable;
  jobs: JobsTable;
  receipts: ReceiptsTable;
  logs: LogsTable;
  blobs: BlobsTable;
  dpop_proofs: DpopProofsTable;
  anomalies: AnomaliesTable;
  orders: OrdersTable;
  instances: InstancesTable;
  retired_keys: RetiredKeysTable;
  held_jobs: HeldJobsTable;
  barred: BarredTable;
  secrets: SecretsTable;
}

export type TokenRow = Selectable<ActivationTokensTable>;
export type AgentRow = Selectable<AgentsTable>;
export type BeatRow = Selectable<BeatsTable>;
export type JobRow = Selectable<JobsTable>;
export type ReceiptRow = Selectable<ReceiptsTable>;
export type LogRow = Selectable<LogsTable>;
export type OrderRow = Selectable<OrdersTable>;
export type InstanceRow = Selectable<InstancesTable>;
export type RetiredKeyRow = Selectable<RetiredKeysTable>;
export type AnomalyRow = Selectable<AnomaliesTable>;
export type SecretRow = Selectable<SecretsTable>;

/** Reads: the database, or a transaction under way. */
export type Reader = Kysely<Tables>;
/** Writes happen in transactions of the group writer only. */
export type Writer = Transaction<Tables>;
