// bun dist-scripts/error-docs.ts
// Writes docs/errors.md from the fault registry: the page and the program cannot disagree.

import { join } from "node:path";
import { cliFaults } from "../src/fault/codes/cli.ts";
import { controlFaults } from "../src/fault/codes/control.ts";
import { custodyFaults } from "../src/fault/codes/custody.ts";
import { jobFaults } from "../src/fault/codes/job.ts";
import { lifecycleFaults } from "../src/fault/codes/lifecycle.ts";
import { sandboxFaults } from "../src/fault/codes/sandbox.ts";
import { scopeFaults } from "../src/fault/codes/scope.ts";
import { secretFaults } from "../src/fault/codes/secret.ts";
import { stateFaults } from "../src/fault/codes/state.ts";
import { trustFaults } from "../src/fault/codes/trust.ts";
import { wireFaults } from "../src/fault/codes/wire.ts";
import { EXIT } from "../src/fault/exit.ts";
import type { FaultRow, FaultTable } from "../src/fault/table.ts";

/** Where the page lies in the repository. */
export const ERRORS_PAGE = "docs/errors.md";

/** Every file of the registry, with what its faults are about, in the order a person meets them. */
export const ROOMS: readonly (readonly [string, FaultTable])[] = [
  ["How a command is called", cliFaults],
  ["The agent's directories, files and user", stateFaults],
  ["Tokens, keys, licenses and signatures", trustFaults],
  ["Orders, quarantine and tampering", lifecycleFaults],
  ["Between agent and Control Plane", wireFaults],
  ["Jobs and their input", jobFaults],
  ["A job's scope and the operator's policy", scopeFaults],
  ["Secrets", secretFaults],
  ["What this host can hold a job to", sandboxFaults],
  ["What the Control Plane answers", controlFaults],
  ["What the Control Plane keeps: keys, backups, receipts", custodyFaults],
];

const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  OK: "done",
  NEGATIVE: "the question was answered, and the answer is no",
  TERMINAL: "the agent is terminal and stays down until it gets a fresh token",
  USAGE: "the command was called wrongly",
  DATA: "what was given or received is wrong",
  NO_INPUT: "what was named is not there",
  UNAVAILABLE: "a service or a part of this build is not available",
  INTERNAL: "a defect of this program",
  CANT_CREATE: "something could not be written",
  TRY_AGAIN: "not now; the same call can succeed later",
  NO_PERMISSION: "this user may not do that",
  CONFIG: "this host or its configuration must be changed first",
};

const RETRY_MEANINGS = {
  never: "the same call fails the same way",
  backoff: "later, with growing pauses",
  now: "once more at once",
} as const satisfies Record<FaultRow["retry"], string>;

/** The whole page as Markdown. */
export function errorsPage(): string {
  const exits = Object.entries(EXIT_MEANINGS).map(
    ([name, meaning]) => `| ${EXIT[name as keyof typeof EXIT]} | ${meaning} |`,
  );
  return [
    "# Errors",
    "",
    "Every failure has a code that never changes its meaning, a sentence, a remedy and an exit status. Commands print",
    "them as one block on standard error, or with `--json` as one object on standard output:",
    '`{"ok":false,"error":{"code":…,"message":…,"remedy":…,"exit":…}}`. Words in braces are filled in when it happens.',
    "",
    "This page is generated from `src/fault` by `bun dist-scripts/error-docs.ts`.",
    "",
    "## Exit statuses",
    "",
    "64 to 78 are those of sysexits(3).",
    "",
    "| status | meaning |",
    "|---:|---|",
    ...exits,
    "",
    ...ROOMS.flatMap(([title, table]) => roomSection(title, table)),
  ].join("\n");
}

function roomSection(title: string, table: FaultTable): string[] {
  const entries = Object.entries(table).sort(([a], [b]) => (a < b ? -1 : 1));
  return [`## ${title}`, "", ...entries.flatMap(([code, row]) => faultSection(code, row))];
}

function faultSection(code: string, { sentence, remedy, exit, retry }: FaultRow): string[] {
  return [
    `### ${code}`,
    "",
    `> ${escaped(sentence)}`,
    "",
    `- Remedy: ${escaped(remedy)}.`,
    `- Exit status ${exit}; retry: ${retry} (${RETRY_MEANINGS[retry]}).`,
    "",
  ];
}

/** Keeps Markdown from reading names and brackets as markup. */
const escaped = (text: string): string => text.replace(/[\\`*_[\]<>|#]/g, "\\$&");

if (import.meta.main) await Bun.write(join(import.meta.dir, "..", ERRORS_PAGE), errorsPage());
