import type { Kysely, Selectable, Transaction } from "kysely";
import type { JobState } from "../../protocol/api.ts";
import type { AccountId, AgentId, JobId, Sha256 } from "../../protocol/ids.ts";
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

/** Things that should not happen. One row for a kind and its subject; the same again only counts. */
interface AnomaliesTable {
  agent_id: AgentId;
  kind: string;
  subject: string;
  account_id: AccountId;
  /** JSON. */
  evidence: string;
  count: number;
  first_at: number;
  last_at: number;
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
}

export type TokenRow = Selectable<ActivationTokensTable>;
export type AgentRow = Selectable<AgentsTable>;
export type BeatRow = Selectable<BeatsTable>;
export type JobRow = Selectable<JobsTable>;
export type ReceiptRow = Selectable<ReceiptsTable>;
export type LogRow = Selectable<LogsTable>;

/** Reads: the database, or a transaction under way. */
export type Reader = Kysely<Tables>;
/** Writes happen in transactions of the group writer only. */
export type Writer = Transaction<Tables>;
