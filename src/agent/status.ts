import { lstatSync } from "node:fs";
import * as v from "valibot";
import { asFault, type Fault, fault, isFault } from "../fault/fault.ts";
import { type IdentityFacts, readIdentityFacts } from "../host/identity-facts.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import { type AgentState, AgentStateSchema, SlotSchema } from "../protocol/wire.ts";
import { type LicenseStanding, standingUnder } from "../trust/license.ts";
import { nextAgentState } from "./agent-state.ts";
import { boundedInterval } from "./beat.ts";
import { WHENEVER_S } from "./boot.ts";
import type { Directories } from "./directories.ts";
import { checkPrivateDirectory } from "./durable-file.ts";
import { type Boot, loadForBoot } from "./identity.ts";
import type { JobRow } from "./job-row.ts";
import { IN_FLIGHT } from "./job-table.ts";
import { Journal } from "./journal.ts";
import { lockHeld } from "./lock.ts";
import { statePaths } from "./state-files.ts";
import {
  type MachineView,
  machineOf,
  readStanding,
  type StandingView,
  standingFaults,
  whoIs,
} from "./status-standing.ts";

/** Something a person should know, with its way out. */
export interface Finding {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

/** What `agentina status --json` prints. Times are milliseconds since the Unix epoch. */
export interface StatusView extends StandingView {
  readonly state: AgentState;
  readonly running: boolean;
  readonly findings: readonly Finding[];
  readonly version: string;
  readonly agent_id: string | null;
  readonly control_plane_url: string | null;
  readonly activated_at: number | null;
  readonly license: {
    readonly id: string;
    readonly plan: string;
    readonly standing: LicenseStanding | "invalid";
    readonly expires_at: number;
    readonly max_agents: number;
    readonly max_concurrent_tasks_per_agent: number;
    readonly kinds: readonly string[];
  } | null;
  readonly slot: v.InferOutput<typeof SlotSchema> | null;
  readonly fingerprint: MachineView | null;
  /** The last accepted heartbeat, and the state it told. */
  readonly last_heartbeat: v.InferOutput<typeof LastBeatSchema> | null;
  readonly last_failure: { readonly at: number; readonly code: string; readonly why: string } | null;
  readonly in_flight: readonly {
    readonly job: string;
    readonly attempt: number;
    readonly state: string;
    readonly kind: string;
    readonly step: string | null;
  }[];
  readonly undelivered_receipts: number;
  readonly last_outcomes: readonly {
    readonly job: string;
    readonly attempt: number;
    readonly outcome: string | null;
    readonly reason: string | null;
    readonly finished_at: number | null;
  }[];
}

const LastBeatSchema = v.strictObject({
  at: v.number(),
  latency_ms: v.number(),
  state: AgentStateSchema,
  /** How it was answered: an agent that is held back gets nothing but orders. */
  standing: v.optional(v.picklist(["live", "held"]), "live"),
});
const LastFailureSchema = v.strictObject({ at: v.number(), code: v.string(), why: v.string() });
const OUTCOMES_SHOWN = 10;

/**
 * Reads everything `status` shows and changes nothing: while the agent runs, while it is down, before activation and
 * offline. What cannot be read becomes a finding, never a failure of the command.
 */
export async function readStatus(
  dirs: Directories,
  version: string,
  nowMs: number,
  identityFacts: () => IdentityFacts = readIdentityFacts,
): Promise<StatusView> {
  const findings: Finding[] = [];
  const paths = statePaths(dirs.stateDir);
  const seen = attempt(findings, () => checkPrivateDirectory(dirs.stateDir)) !== null;
  const running = seen && lockHeld(paths.lock);
  const journal = seen ? openJournal(paths.journal, findings) : null;
  try {
    const boot = seen ? await bootOf(dirs.stateDir, journal, findings) : null;
    const standing = await readStanding(dirs.stateDir, journal, boot, nowMs);
    const machine = machineOf(boot, identityFacts());
    const faults = [...standingFaults(standing, machine), ...expiredTrust(boot, nowMs)];
    findings.unshift(...faults.map(finding));
    return view({ findings, running, version, journal, boot, standing, machine, nowMs });
  } finally {
    journal?.close();
  }
}

interface Gathered {
  readonly findings: Finding[];
  readonly running: boolean;
  readonly version: string;
  readonly journal: Journal | null;
  readonly boot: Boot | null;
  readonly standing: StandingView;
  readonly machine: MachineView | null;
  readonly nowMs: number;
}

function view(gathered: Gathered): StatusView {
  const { findings, running, version, journal, boot, standing: told, machine, nowMs } = gathered;
  const identity = whoIs(boot);
  const meta = <S extends v.GenericSchema>(key: Parameters<Journal["readMeta"]>[0], schema: S) => {
    const text = journal?.readMeta(key) ?? null;
    const parsed = text === null ? null : parseDocument(text, schema);
    return parsed?.ok ? parsed.value : null;
  };
  const license = identity?.license ?? null;
  const claims = license === null ? null : license.claims;
  const standing = identity && license && standingUnder(license, identity.trust, Math.floor(nowMs / 1000));
  const inFlight = journal?.jobsIn(IN_FLIGHT) ?? [];
  const lastBeat = meta("last_beat", LastBeatSchema);
  const slot = meta("slot", SlotSchema);
  const intervalMs =
    boundedInterval(Number(journal?.readMeta("interval_s") ?? LIMITS.BEAT_INTERVAL_S)) * 1000;
  const facts = {
    ended: told.terminal !== null,
    tampered: told.seal?.whole === false,
    quarantined: told.quarantine !== null,
    held: told.hold !== null,
    activated: identity !== null,
    license: standing ?? ("invalid" as const),
    draining: running && lastBeat?.state === "draining" && told.hold === null,
    silentMs: running && lastBeat === null ? 0 : nowMs - (lastBeat?.at ?? 0),
    intervalMs,
    slotHeld: slot?.held ?? true,
    inFlight: inFlight.length,
    capacity: claims?.max_concurrent_tasks_per_agent ?? 0,
  };
  if (identity && !running) findings.push(DOWN);
  return {
    state: nextAgentState(facts),
    running,
    findings,
    ...told,
    version,
    agent_id: identity?.file.agent_id ?? null,
    control_plane_url: identity?.file.url ?? null,
    activated_at: identity?.file.activated_at ?? null,
    license: claims &&
      standing && {
        id: claims.lic,
        plan: claims.plan,
        standing,
        expires_at: claims.exp * 1000,
        max_agents: claims.max_agents,
        max_concurrent_tasks_per_agent: claims.max_concurrent_tasks_per_agent,
        kinds: claims.kinds,
      },
    slot,
    fingerprint: machine,
    last_heartbeat: lastBeat,
    last_failure: meta("last_failure", LastFailureSchema),
    in_flight: inFlight.map(flight),
    undelivered_receipts: journal?.openReceipts().length ?? 0,
    last_outcomes: (journal?.lastOutcomes(OUTCOMES_SHOWN) ?? []).map(outcome),
  };
}

const DOWN: Finding = {
  code: "AGENT_DOWN",
  message: "No agent is running on this state directory",
  remedy: 'Start the service, or run "agentina run" as its user',
};

const flight = (row: JobRow) => ({
  job: row.jti,
  attempt: row.attempt,
  state: row.state,
  kind: row.claims.kind,
  step: row.step?.name ?? null,
});

const outcome = (row: JobRow) => ({
  job: row.jti,
  attempt: row.attempt,
  outcome: row.outcome,
  reason: row.reason,
  finished_at: row.finishedAt,
});

function openJournal(path: string, findings: Finding[]): Journal | null {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined || (stat.isFile() && stat.size === 0)) return null; // no journal yet: nothing has run
  if (!stat.isFile()) {
    findings.push(finding(fault("JOURNAL_UNUSABLE", { path, why: "it is not a regular file" })));
    return null;
  }
  return attempt(findings, () => Journal.open(path, "read"));
}

async function bootOf(stateDir: string, journal: Journal | null, findings: Finding[]): Promise<Boot | null> {
  try {
    return await loadForBoot(stateDir, journal, WHENEVER_S, "inspect");
  } catch (error) {
    findings.push(finding(error));
    return null;
  }
}

function expiredTrust(boot: Boot | null, nowMs: number): Fault[] {
  const end = (whoIs(boot)?.trust.claims.exp ?? Number.POSITIVE_INFINITY) * 1000;
  return end > nowMs ? [] : [fault("TRUST_EXPIRED", { until: new Date(end).toISOString() })];
}

/** Runs `fn`; a fault becomes a finding and null. */
function attempt<T>(findings: Finding[], fn: () => T): T | null {
  try {
    return fn();
  } catch (error) {
    if (!isFault(error)) throw error;
    findings.push(finding(error));
    return null;
  }
}

function finding(error: unknown): Finding {
  const { code, message, remedy } = asFault(error);
  return { code, message, remedy };
}
