import type { AccountId, AgentId, JobId, Sha256 } from "../../protocol/ids.ts";
import type { ReceiptClaims } from "../../protocol/receipt.ts";
import type { BeatRequest } from "../../protocol/wire.ts";
import type { JobRow } from "../store/schema.ts";
import type { AgentStanding } from "./standing.ts";

/** A receipt as it came, with what its signature and form turned out to be. */
export type ReceivedReceipt =
  | {
      readonly usable: true;
      readonly jws: string;
      readonly sha256: Sha256;
      readonly claims: ReceiptClaims;
    }
  | { readonly usable: false; readonly sha256: Sha256; readonly why: string };

/** One authenticated heartbeat, its receipts opened. */
export interface BeatInput {
  readonly accountId: AccountId;
  readonly agentId: AgentId;
  /** Thumbprint of the key that signed it, and the address it came from. */
  readonly jkt: string;
  readonly address: string;
  /** Name of its DPoP proof, to be written down with it, and the proof's time in seconds. */
  readonly proof: string;
  readonly iatS: number;
  readonly request: BeatRequest;
  readonly receipts: readonly ReceivedReceipt[];
  readonly nowMs: number;
}

/** An answered heartbeat. */
export interface BeatOutcome {
  /** The reply as it is sent and, for the same request again, kept. */
  readonly body: string;
  readonly aftermath: Aftermath;
}

/** What others want to know once a heartbeat is durable. */
export interface Aftermath {
  readonly accountId: AccountId;
  readonly agentId: AgentId;
  /** Jobs the beat or its reply changed, as they are now. */
  readonly changedJobs: readonly JobRow[];
  /** Attempts whose receipt came with the beat. */
  readonly toldAttempts: readonly { readonly job: JobId; readonly attempt: number }[];
  readonly standing: AgentStanding;
  /** Anomalies this beat was the first sign of, for the log. */
  readonly anomalies: readonly { readonly id: string; readonly kind: string; readonly what: string }[];
  /** What has happened to the agent by this beat. */
  readonly events: readonly AgentEvent[];
}

export type AgentEvent = "quarantined" | "ended" | "resynchronised";
