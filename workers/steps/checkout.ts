import { closeSync } from "node:fs";
import { fault } from "../../src/fault/fault.ts";
import type { ExecutorTask } from "../../src/protocol/execution.ts";
import type { Source } from "../../src/protocol/job.ts";
import { openOwnPath, openRealPath } from "../../src/sandbox/scope-paths.ts";
import type { TextFile, ViewSpec } from "../../src/sandbox/view.ts";
import { HOME_DIR } from "../../src/scope/paths.ts";
import { localSource } from "../../src/scope/source.ts";
import { displayLine } from "./display.ts";
import { lastLineOf, type StepEnd, type StepRunner } from "./run-command.ts";

/** Where the source's repository or bundle lies inside the checkout's sandbox, whatever its place on the host. */
const SOURCE_PLACE = "/source";

/**
 * Three commands of git in one sandbox. Constant text: paths, depth and commit come as arguments. The commit is fetched by
 * its hash, so that nothing the source's refs say decides what is checked out.
 */
const CHECKOUT_SCRIPT = `
git=$1 format=$2 place=$3 depth=$4 commit=$5
"$git" init --quiet --template= --object-format="$format" . &&
"$git" fetch --quiet --no-tags --no-write-fetch-head \${depth:+--depth="$depth"} "$place" "$commit" &&
"$git" checkout --quiet --detach "$commit"
`;

/**
 * git's whole configuration for a checkout. Only this one source is trusted across owners; only local transport exists;
 * every object is checked (transfer.fsckObjects); nothing the source holds is ever run.
 */
const GIT_CONFIG: TextFile = {
  path: `${HOME_DIR}/.gitconfig`,
  text: `[safe]
	directory = ${SOURCE_PLACE}
	directory = ${SOURCE_PLACE}/.git
[core]
	hooksPath = /dev/null
	fsmonitor = false
[transfer]
	fsckObjects = true
[protocol]
	allow = never
[protocol "file"]
	allow = always
[uploadpack]
	allowAnySHA1InWant = true
[fetch]
	recurseSubmodules = false
[submodule]
	recurse = false
[gc]
	auto = 0
[maintenance]
	auto = false
[advice]
	detachedHead = false
`,
};

const GIT_ENV = { GIT_CONFIG_NOSYSTEM: "1", GIT_TERMINAL_PROMPT: "0" } as const;

/** A view for one step: given the parts that differ, the rest is the job's. */
export type ViewOf = (parts: Pick<ViewSpec, "home" | "binds" | "files" | "env">) => ViewSpec;

/**
 * Puts the source's tree into the workspace: the exact commit, detached, without submodules and without LFS contents.
 * git runs inside a sandbox of its own that sees the source read-only and an empty home. Null for an empty source.
 * Throws SCOPE_PATH_MISSING, SOURCE_*, BLOB_UNAVAILABLE or GIT_MISSING when the source cannot be opened.
 */
export async function checkout(
  source: Source,
  task: Pick<ExecutorTask, "blobs" | "gitPath">,
  steps: StepRunner,
  viewOf: ViewOf,
): Promise<StepEnd | null> {
  if (source.type === "empty") return null;
  const { gitPath } = task;
  if (gitPath === null) throw fault("GIT_MISSING");
  const { fd, title } = openSource(source, task);
  try {
    const view = viewOf({
      home: null,
      binds: [{ fd, to: SOURCE_PLACE, writable: false }],
      files: [GIT_CONFIG],
      env: GIT_ENV,
    });
    return await steps.run({ name: "checkout", title, view, argv: checkoutArgv(gitPath, source) });
  } finally {
    closeSync(fd);
  }
}

/** What git complained of, for a person: its own `fatal:` and `error:` lines, without the advice around them. */
export function gitComplaint(end: StepEnd): string {
  const own = end.lastLines.filter((line) => /^(fatal|error): /.test(line));
  return own.length === 0 ? lastLineOf(end) : displayLine(own.join("; "));
}

function checkoutArgv(gitPath: string, source: Exclude<Source, { type: "empty" }>): readonly string[] {
  const format = source.commit.length === 64 ? "sha256" : "sha1";
  const place = source.type === "git" ? `file://${SOURCE_PLACE}` : SOURCE_PLACE;
  const depth = source.type === "git" && source.depth !== undefined ? String(source.depth) : "";
  return ["sh", "-c", CHECKOUT_SCRIPT, "checkout", gitPath, format, place, depth, source.commit];
}

function openSource(
  source: Exclude<Source, { type: "empty" }>,
  { blobs }: Pick<ExecutorTask, "blobs">,
): { readonly fd: number; readonly title: string } {
  const commit = source.commit.slice(0, 12);
  if (source.type === "git") {
    const local = localSource(source.url);
    if (!local.ok) throw local.fault;
    return { fd: openRealPath(local.path), title: `git ${source.url} ${commit}` };
  }
  const blob = blobs.find(({ name }) => name === source.blob);
  if (!blob) throw fault("BLOB_UNAVAILABLE", { name: source.blob, why: "the agent handed none over" });
  return { fd: openOwnPath(blob.path), title: `bundle ${source.blob} ${commit}` };
}
