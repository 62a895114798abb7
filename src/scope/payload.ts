import { isRunnableKind, PAYLOAD_SCHEMAS, type Source, type TestRunPayload } from "../protocol/job.ts";
import { parseValue } from "../protocol/json.ts";
import type { Scope } from "../protocol/scope.ts";
import { isDeniedEnvName } from "./env-names.ts";
import { covers, isWorkspaceEntry, WORKSPACE, WORKSPACE_DIR } from "./paths.ts";
import { type Refusal, refuse, type ScopedJob } from "./refusal.ts";
import { checkSecretUse } from "./secrets.ts";
import { localSource } from "./source.ts";

/** Holds the payload against the job's own scope: a job uses nothing it did not declare. */
export function checkPayload(job: ScopedJob): Refusal | null {
  const { kind } = job;
  if (!isRunnableKind(kind)) return refuse("JOB_KIND_UNKNOWN", kind, { kind });
  const payload = parseValue(job.payload, PAYLOAD_SCHEMAS[kind]);
  if (!payload.ok) {
    const path = `payload.${payload.path}`;
    return refuse("JOB_SCHEMA", path, { path, why: payload.why });
  }
  switch (kind) {
    case "test.run":
      return checkTestRun(payload.value, job);
  }
}

function checkTestRun(payload: TestRunPayload, job: ScopedJob): Refusal | null {
  return (
    checkWorkspaceWritable(job.scope) ??
    checkPrograms([...payload.setup, payload.run], job.scope) ??
    checkValues(payload.env, job.scope) ??
    checkSecretUse(Object.keys(job.secrets ?? {}), payload, job.scope) ??
    checkSource(payload.source, job)
  );
}

const outside = (entry: string, list: string): Refusal =>
  refuse("SCOPE_PAYLOAD_OUTSIDE", entry, { entry, list });

/** A test run gets a writable throw-away tree; a job that says otherwise did not mean what it would get. */
const checkWorkspaceWritable = ({ files }: Scope): Refusal | null =>
  files.write.includes(WORKSPACE) ? null : outside(WORKSPACE, "scope.files.write");

function checkPrograms(argvs: readonly (readonly string[])[], { commands }: Scope): Refusal | null {
  for (const [program = ""] of argvs) {
    if (commands !== "system" || !isSystemProgram(program)) return outside(program, "scope.commands");
  }
  return null;
}

const SYSTEM_TREES = ["/usr", "/bin", "/sbin", WORKSPACE_DIR] as const;

/** `"system"`: a bare name (looked up under /usr), a path under /usr, or a program of the workspace. */
function isSystemProgram(program: string): boolean {
  if (program.split("/").includes("..")) return false;
  if (!program.startsWith("/")) return true; // a bare name, or a path the workspace resolves
  return SYSTEM_TREES.some((tree) => covers(tree, program));
}

function checkValues(values: Readonly<Record<string, string>>, { env }: Scope): Refusal | null {
  for (const name of Object.keys(values)) {
    if (isDeniedEnvName(name)) return refuse("SCOPE_ENV_DENIED", name, { entry: name });
    if (!env.includes(name)) return outside(name, "scope.env");
  }
  return null;
}

function checkSource(source: Source, { scope, blobs }: ScopedJob): Refusal | null {
  switch (source.type) {
    case "empty":
      return null;
    case "bundle":
      return blobs?.some(({ name }) => name === source.blob) ? null : outside(source.blob, "blobs");
    case "git": {
      const local = localSource(source.url);
      if (!local.ok) {
        const { code, params } = local.fault;
        return { code, entry: String(params["url"] ?? ""), fault: local.fault };
      }
      const read = scope.files.read.filter((entry) => !isWorkspaceEntry(entry));
      return read.some((root) => covers(root, local.path)) ? null : outside(local.path, "scope.files.read");
    }
  }
}
