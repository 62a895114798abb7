import type { AccountId, AgentId, JobId, Sha256 } from "../../protocol/ids.ts";
import type { ReceiptClaims } from "../../protocol/receipt.ts";
import type { AgentState, BeatRequest } from "../../protocol/wire.ts";

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
  /** Jobs whose state, step or outcome changed. */
  readonly changedJobs: readonly JobId[];
  /** Jobs that were finished by this beat, for the log of the server. */
  readonly finishedJobs: readonly { readonly id: JobId; readonly outcome: string; readonly reason: string }[];
  /** True when jobs went back to the queue. */
  readonly requeued: boolean;
  /** Logs a receipt has told the whole of. */
  readonly toldLogs: readonly { readonly job: JobId; readonly attempt: number }[];
  /** What the agent could be woken for. */
  readonly standing: AgentStanding;
}

/** Whether and for what an agent can be given work, as of its last heartbeat. */
export interface AgentStanding {
  readonly state: AgentState | null;
  readonly slotHeld: boolean;
  readonly kinds: readonly string[];
  readonly free: number;
}
