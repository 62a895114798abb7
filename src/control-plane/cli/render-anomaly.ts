import type { AnomalyView, InstanceView } from "../../protocol/api.ts";
import { agoOf, standingText } from "./render-agent.ts";
import { safeLine, table } from "./text.ts";

/** Processes that fit side by side on a terminal; more come in further tables. */
const COLUMNS = 3;

/** A case as an admin wants to read it: what was found, who is who, what can be done. */
export function renderAnomaly(view: AnomalyView, nowMs: number): string {
  const blocks = [head(view, nowMs), evidence(view), processes(view, nowMs), next(view)];
  return `${blocks.filter((block) => block !== "").join("\n")}`;
}

function head(view: AnomalyView, nowMs: number): string {
  const { id, kind, state, what, count, first_at, last_at, agent } = view;
  const times = count === 1 ? "once" : `${count} times`;
  const rows: (readonly [string, string])[] = [
    ["What", what],
    ["Agent", `${agent.id} on "${agent.hostname}", ${standingText(agent)}`],
    ["Found", `${times}, first ${agoOf(first_at, nowMs)}, last ${agoOf(last_at, nowMs)}`],
    ...(view.resolved_by === null
      ? []
      : [
          [
            "Resolved",
            `${agoOf(view.resolved_at, nowMs)} by ${view.resolved_by}: ${view.resolution}`,
          ] as const,
        ]),
  ];
  const lines = rows.map(([name, text]) => `  ${name.padEnd(10)}${safeLine(text)}\n`).join("");
  return `${kind.toUpperCase().replaceAll("_", " ")}  ${id}  ${state}\n${lines}`;
}

function evidence({ evidence: { first, latest } }: AnomalyView): string {
  const last = latest.at(-1);
  const lines = [...memberLines("First", first), ...(last === undefined ? [] : memberLines("Latest", last))];
  return lines.length === 0 ? "" : `Evidence\n${lines.join("")}`;
}

/** Members but for the sentence and the time, which stand above. */
function memberLines(name: string, found: Readonly<Record<string, unknown>>): string[] {
  const members = Object.entries(found).filter(([member]) => member !== "what" && member !== "at");
  const text = members.map(([member, value]) => `${member}=${plain(value)}`).join("  ");
  return text === "" ? [] : [`  ${name.padEnd(10)}${safeLine(text)}\n`];
}

const plain = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

/** Every process in a column of its own; a row in which they differ is marked. */
function processes({ instances }: AnomalyView, nowMs: number): string {
  if (instances.length === 0) return "No process of this agent has been heard yet.\n";
  const groups = Array.from({ length: Math.ceil(instances.length / COLUMNS) }, (_, index) =>
    instances.slice(index * COLUMNS, (index + 1) * COLUMNS),
  );
  const differing = new Set(
    ROWS.filter(
      ([, cell, compared]) => compared && new Set(instances.map((one) => cell(one, nowMs))).size > 1,
    ).map(([name]) => name),
  );
  return groups
    .map((group) =>
      table(
        ROWS.map(([name, cell]) => [
          differing.has(name) ? "≠" : "",
          name,
          ...group.map((one) => safeLine(cell(one, nowMs))),
        ]),
      ),
    )
    .join("\n");
}

type Row = readonly [
  name: string,
  cell: (one: InstanceView, nowMs: number) => string,
  /** Whether a difference says something: names and times differ anyway. */
  compared: boolean,
];

const list = (names: readonly string[]): string => (names.length === 0 ? "none" : names.join(", "));

const ROWS: readonly Row[] = [
  ["PROCESS", ({ inst }) => inst, false],
  ["host", ({ hostname }) => hostname, true],
  ["address", ({ address }) => address, true],
  ["boot", ({ boot }) => boot, true],
  ["version", ({ version }) => version, true],
  ["says", ({ state }) => state, true],
  ["machine", ({ fingerprint: { verdict, score } }) => `${verdict}, ${Math.round(score * 100)} %`, true],
  ["rule", ({ fingerprint }) => fingerprint.rule ?? "none", true],
  ["changed", ({ fingerprint }) => list(fingerprint.changed), true],
  ["gone", ({ fingerprint }) => list(fingerprint.lost), true],
  ["new", ({ fingerprint }) => list(fingerprint.enriched), true],
  ["seal", ({ seal_ctr }) => String(seal_ctr), true],
  ["receipts", ({ head_seq }) => String(head_seq), true],
  ["first heard", ({ first_at }, nowMs) => agoOf(first_at, nowMs), false],
  ["last heard", ({ last_at }, nowMs) => agoOf(last_at, nowMs), false],
  ["beats", ({ beats }) => String(beats), false],
  ["in the chain", ({ in_chain }) => (in_chain ? "yes" : "no"), false],
  ["since then", ({ heard_since }) => (heard_since ? "heard" : "silent"), false],
  ["picked", ({ picked }) => (picked ? "yes" : "no"), false],
];

function next({ state, id, agent, instances, kind }: AnomalyView): string {
  if (state === "resolved" || agent.standing === "ended") return "";
  const picked = instances.find((one) => one.picked);
  if (picked !== undefined) return `\nProcess ${picked.inst} is told to make new keys.\n`;
  if (agent.standing === "quarantined") {
    const several = instances.filter((one) => one.heard_since).length > 1 ? " --inst PROCESS" : "";
    return `\nTo go on with one process: agentina-control anomaly recover ${id}${several} --reason TEXT\n`;
  }
  if (kind === "unknown_agent") {
    return `\nTo take it back into the fleet: agentina-control agent confirm ${agent.id} --reason TEXT\n`;
  }
  if (kind === "tampered" && agent.state === "tampered") {
    return `\nTo accept the files as they are: agentina-control anomaly reseal ${id} --reason TEXT\n`;
  }
  if (kind === "fingerprint_drift") {
    return `\nTo accept the machine as it is: agentina-control anomaly rebind ${id} --reason TEXT\n`;
  }
  return `\nTo close it: agentina-control anomaly resolve ${id} --reason TEXT\n`;
}
