import type { Plan } from "../../protocol/api.ts";
import type { RandomBytes } from "../../protocol/ids.ts";
import type { KeySource } from "../keys/keyring.ts";
import type { SecretVault } from "../secrets/vault.ts";
import type { Settings } from "../settings.ts";
import type { AgentRecord } from "../store/agents.ts";
import type { Finding } from "../store/anomalies.ts";
import type { BeatInput } from "./beat-input.ts";
import type { BeatFinding } from "./findings.ts";

export interface BeatDeps {
  readonly keys: KeySource;
  readonly settings: Settings;
  /** Raised by each restore; agents of an older one may know more than the backup. */
  readonly era: number;
  readonly random: RandomBytes;
  /** Where the secrets that jobs are given lie. */
  readonly vault: SecretVault;
}

/** A beat with what is known of its agent. */
export interface Known {
  readonly input: BeatInput;
  readonly record: AgentRecord;
  readonly plan: Plan;
}

/** A finding as it is written down. */
export const noted = ({ input, record }: Known, finding: BeatFinding): Finding => ({
  accountId: input.accountId,
  agentId: input.agentId,
  epoch: record.agent.epoch,
  kind: finding.kind,
  evidence: finding.evidence,
  nowMs: input.nowMs,
});
