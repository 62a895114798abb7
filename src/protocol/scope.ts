import * as v from "valibot";
import { LIMITS } from "./limits.ts";
import { CountSchema } from "./scalars.ts";

// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what it keeps out
const CONTROL = /[\u0000-\u001f\u007f]/;
const entry = v.pipe(
  v.string(),
  v.minLength(1, "must not be empty"),
  v.maxLength(4096),
  v.check((text) => !CONTROL.test(text), "must not hold control characters"),
);
const entries = v.pipe(v.array(entry), v.maxLength(LIMITS.SCOPE_ENTRIES));

export const EnvNameSchema = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, "must be a variable name"),
);

/**
 * What a job asks for. Files: absolute paths, or `./…` inside the workspace; a directory covers its tree.
 * Commands: `"system"` (root-owned programs under /usr) or a list. Hosts: `name:port`. An empty list means none.
 */
export const ScopeSchema = v.strictObject({
  files: v.strictObject({ read: entries, write: entries }),
  commands: v.union([v.literal("system"), entries], 'must be "system" or a list'),
  hosts: entries,
  env: v.pipe(v.array(EnvNameSchema), v.maxLength(LIMITS.SCOPE_ENTRIES)),
});
export type Scope = v.InferOutput<typeof ScopeSchema>;

export const JobLimitsSchema = v.strictObject({
  timeout_s: v.pipe(CountSchema, v.minValue(1), v.maxValue(LIMITS.JOB_TIMEOUT_S)),
  memory_bytes: v.pipe(CountSchema, v.minValue(16_777_216)),
  pids: v.pipe(CountSchema, v.minValue(1), v.maxValue(65_536)),
  output_bytes: v.pipe(CountSchema, v.minValue(1024), v.maxValue(LIMITS.JOB_OUTPUT_BYTES)),
  workspace_bytes: v.pipe(CountSchema, v.minValue(1_048_576)),
});
export type JobLimits = v.InferOutput<typeof JobLimitsSchema>;

/** What a job gets when it names no limits of its own. */
export const DEFAULT_LIMITS: JobLimits = {
  timeout_s: 1800,
  memory_bytes: 4_294_967_296,
  pids: 1024,
  output_bytes: 67_108_864,
  workspace_bytes: 4_294_967_296,
};
