import type { LoadedPolicy } from "../agent/policy-file.ts";
import type { StatusView } from "../agent/status.ts";
import { printable } from "../fault/fault.ts";
import type { HostCapabilities } from "../sandbox/probe.ts";
import { style } from "../terminal/output.ts";

/** What `agentina status` shows: the agent's own view, and what the command found out beside it. */
export interface StatusReport extends StatusView {
  /** The policy in force; null when there is none or it cannot be used, which a finding explains. */
  readonly policy: {
    readonly path: string;
    readonly sha256: string;
    readonly owner: LoadedPolicy["owner"];
  } | null;
  /** What this host can hold a job to. */
  readonly host: Pick<HostCapabilities, "kinds" | "layers" | "limits"> & { readonly sandbox: boolean };
  readonly bundle: { readonly verdict: string; readonly why: string | null };
}

type Row = readonly [name: string, value: string];

/** The screen for a person: what is wrong first, with the way out, then what is. Pure; `nowMs` makes ages. */
export function statusScreen(report: StatusReport, nowMs: number, colour: boolean): string {
  const findings = report.findings.map(
    ({ code, message, remedy }) =>
      `${style.red("!", colour)} ${style.bold(code, colour)}: ${printable(message)}\n  ${printable(remedy)}\n`,
  );
  const blocks = [findings.join(""), table(agentRows(report, nowMs)), jobs(report), outcomes(report)];
  return blocks.filter((block) => block !== "").join("\n");
}

function agentRows(report: StatusReport, nowMs: number): readonly Row[] {
  const { license, slot, fingerprint, last_heartbeat: beat, last_failure: failure } = report;
  const rows: (Row | null)[] = [
    ["State", stateLine(report)],
    report.agent_id === null ? null : ["Agent", report.agent_id],
    report.control_plane_url === null ? null : ["Control Plane", report.control_plane_url],
    license && [
      "License",
      `${license.standing}, plan "${license.plan}", until ${instant(license.expires_at)}`,
    ],
    license && ["Allows", allowance(license)],
    slot && ["Slot", slot.held ? "held" : waiting(slot.position)],
    fingerprint && ["Fingerprint", machineLine(fingerprint)],
    report.seal && ["Seal", sealLine(report.seal)],
    beat && ["Heartbeat", `${age(nowMs - beat.at)} ago, answered in ${beat.latency_ms} ms`],
    failure && ["Last failure", `${age(nowMs - failure.at)} ago: ${failure.code} (${failure.why})`],
    report.undelivered_receipts === 0
      ? null
      : ["Receipts", `${report.undelivered_receipts} not delivered yet`],
    policyRow(report),
    ["Sandbox", sandboxed(report.host)],
    ["Version", report.version],
    ["Bundle", `${report.bundle.verdict}${report.bundle.why === null ? "" : ` (${report.bundle.why})`}`],
  ];
  return rows.filter((row) => row !== null);
}

/** The state, and in a word why, when it is not the ordinary one; the findings above say more. */
function stateLine({ state, running, terminal, quarantine, hold, seal }: StatusReport): string {
  const why: Partial<Record<StatusReport["state"], string | undefined>> = {
    terminal: terminal?.reason,
    tampered: seal?.findings.map(({ name }) => name).join(", "),
    quarantined: quarantine?.reason,
    draining: hold === null ? undefined : `told to ${hold.type}`,
    paused: hold === null ? undefined : `told to ${hold.type}`,
  };
  const because = why[state];
  return `${state}${because ? `: ${because}` : ""}${running ? "" : " (no agent is running)"}`;
}

function machineLine(machine: NonNullable<StatusReport["fingerprint"]>): string {
  const differs = [...machine.changed, ...machine.lost];
  const how = differs.length === 0 ? machine.verdict : `${machine.verdict}: ${differs.join(", ")} differ`;
  const unread = machine.unknown.length === 0 ? "" : `; not readable: ${machine.unknown.join(", ")}`;
  const percent = Math.round(machine.score * 100);
  return `${machine.id}, ${how}, ${percent} % of ${machine.components.join(", ") || "nothing"}${unread}`;
}

const sealLine = ({ ctr, whole, findings }: NonNullable<StatusReport["seal"]>): string =>
  whole ? `whole, number ${ctr}` : `broken: ${findings.map(({ name }) => name).join(", ")}`;

function policyRow({ policy }: StatusReport): Row {
  if (policy === null) return ["Policy", "none in force: no job runs"];
  return ["Policy", policy.owner === "self" ? `${policy.path} (self-owned)` : policy.path];
}

function sandboxed({ sandbox, layers, limits }: StatusReport["host"]): string {
  if (!sandbox) return "cannot be made here: no job runs";
  return `${layers.join(", ")}; limits ${limits === "weak" ? "weak (no cgroup)" : "by cgroup"}`;
}

const waiting = (position: number | undefined): string =>
  position === undefined ? "waiting for one" : `waiting, number ${position} in the queue`;

function allowance(license: NonNullable<StatusReport["license"]>): string {
  const kinds = license.kinds.length === 0 ? "no kind" : license.kinds.join(", ");
  const { max_agents: agents, max_concurrent_tasks_per_agent: tasks } = license;
  return `${count(agents, "agent")}, ${count(tasks, "job")} at once on each: ${kinds}`;
}

function jobs({ in_flight: inFlight }: StatusReport): string {
  if (inFlight.length === 0) return "";
  const rows = inFlight.map(
    ({ job, attempt, state, kind, step }): Row => [
      job,
      `${kind}, attempt ${attempt}, ${state}${step === null ? "" : `: ${step}`}`,
    ],
  );
  return `Jobs\n${table(rows)}`;
}

function outcomes({ last_outcomes: last }: StatusReport): string {
  if (last.length === 0) return "";
  const rows = last.map(({ job, attempt, outcome, reason, finished_at: at }): Row => {
    const when = at === null ? "" : `, ${instant(at)}`;
    return [job, `${outcome ?? "unknown"} (${reason ?? "no reason"}), attempt ${attempt}${when}`];
  });
  return `Last outcomes\n${table(rows)}`;
}

function table(rows: readonly Row[]): string {
  const width = Math.max(0, ...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${printable(value)}\n`).join("");
}

/** ISO 8601 in UTC without milliseconds. */
const instant = (ms: number): string => new Date(ms).toISOString().replace(/\.\d{3}Z$/, "Z");

/** A span as a person says it, one unit: `4 s`, `12 min`, `3 h`, `9 days`. A clock set back makes it 0 s. */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} days`;
}

const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`;
