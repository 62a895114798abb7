import { type Fault, fault } from "../fault/fault.ts";
import { makeFingerprint } from "../host/fingerprint.ts";
import type { IdentityFacts } from "../host/identity-facts.ts";
import { compareFingerprints, differenceOf, type FingerprintMatch } from "../trust/fingerprint-match.ts";
import { keptEnd } from "./boot.ts";
import type { Boot } from "./identity.ts";
import type { Journal } from "./journal.ts";
import { keptQuarantine } from "./kept-quarantine.ts";
import { type Hold, type Quarantine, standing } from "./standing.ts";
import type { SealFinding } from "./state-seal.ts";

/** What stands between this agent and work, with since when and why. Times are milliseconds since the Unix epoch. */
export interface StandingView {
  /** The order that ended this agent for good. `since` is null when only the order itself is left. */
  readonly terminal: { readonly reason: string; readonly since: number | null } | null;
  readonly quarantine: Pick<Quarantine, "code" | "reason" | "since" | "epoch"> | null;
  readonly hold: Hold | null;
  /** Number of the seal over the state files, and what is wrong with them; null before activation. */
  readonly seal: {
    readonly ctr: number;
    readonly whole: boolean;
    readonly findings: readonly SealFinding[];
  } | null;
}

/** How the machine compares with the one that was activated. */
export type MachineView = FingerprintMatch & {
  readonly id: string;
  /** Components of the machine as it was activated. */
  readonly components: readonly string[];
  /** There, and not readable now. */
  readonly unknown: readonly string[];
};

/** Reads the journal, and the files where the journal says nothing. Changes nothing. */
export async function readStanding(
  stateDir: string,
  journal: Journal | null,
  boot: Boot | null,
  nowMs: number,
): Promise<StandingView> {
  const end = journal && standing.end(journal);
  const reason = end?.reason ?? (await keptEnd(stateDir));
  const { verdict } = boot ?? {};
  return {
    terminal: reason === null ? null : { reason, since: end?.since ?? null },
    quarantine: await quarantineOf(stateDir, journal, boot, nowMs),
    hold: journal && standing.hold(journal),
    seal: verdict
      ? { ctr: verdict.ctr, whole: verdict.findings.length === 0, findings: verdict.findings }
      : null,
  };
}

async function quarantineOf(
  stateDir: string,
  journal: Journal | null,
  boot: Boot | null,
  nowMs: number,
): Promise<StandingView["quarantine"]> {
  const known = whoIs(boot);
  const epoch = known?.license?.claims.epoch ?? 0;
  const inJournal = journal && standing.quarantine(journal, epoch);
  const kept =
    inJournal ??
    (known &&
      (await keptQuarantine(stateDir, known.trust, {
        identity: known.identity,
        agentId: known.file.agent_id,
        epoch,
        nowMs,
      })));
  if (!kept) return null;
  const { code, reason, since } = kept;
  return { code, reason, since, epoch: kept.epoch };
}

/** What is known of the agent, whole or in part. */
export function whoIs(boot: Boot | null) {
  if (boot === null || boot.standing === "tampered") return boot?.remnant ?? null;
  const { keys, ...identity } = boot.identity;
  return { ...identity, identity: keys.identity };
}

/** Compares the machine now with the license's; null before activation. */
export function machineOf(boot: Boot | null, { raw, unknown }: IdentityFacts): MachineView | null {
  const known = whoIs(boot);
  const enrolled = known?.license?.claims.fp ?? known?.fingerprint ?? null;
  if (!known || enrolled === null) return null;
  const now = makeFingerprint(raw, known.trust.claims.fp_salt);
  const { id, components } = enrolled;
  return {
    id,
    components: Object.keys(components),
    ...compareFingerprints(enrolled, now, unknown),
    unknown,
  };
}

/** What a person should know of it, worst first, each with its way out. */
export function standingFaults(view: StandingView, machine: MachineView | null): Fault[] {
  const { terminal, quarantine, hold, seal } = view;
  const told = quarantine?.code === "FINGERPRINT_MISMATCH";
  return [
    ...(terminal === null ? [] : [fault("STATE_TERMINAL", { reason: terminal.reason })]),
    ...(seal?.findings ?? []).map(({ name, what }) => fault("STATE_TAMPERED", { name, what })),
    ...(quarantine === null ? [] : [fault("STATE_QUARANTINED", { reason: whyOf(quarantine) })]),
    ...(machine?.verdict === "mismatch" || told
      ? [fault("FINGERPRINT_MISMATCH", { why: machineWhy(machine, quarantine) })]
      : []),
    ...(machine?.verdict === "drift" ? [fault("FINGERPRINT_DRIFT", { why: differenceOf(machine) })] : []),
    ...(hold === null ? [] : [fault("AGENT_HELD", { order: hold.type, since: instant(hold.since) })]),
  ];
}

const whyOf = ({ reason, since }: NonNullable<StandingView["quarantine"]>) =>
  `since ${instant(since)}: ${reason}`;

const machineWhy = (machine: MachineView | null, quarantine: StandingView["quarantine"]) =>
  machine?.verdict === "mismatch" ? differenceOf(machine) : (quarantine?.reason ?? "");

/** ISO 8601 in UTC without milliseconds. */
const instant = (ms: number): string => new Date(ms).toISOString().replace(/\.\d{3}Z$/, "Z");
