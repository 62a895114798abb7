import { parse, TomlError } from "smol-toml";
import * as v from "valibot";
import { JOB_KINDS } from "../protocol/job.ts";
import { absolutePathProblem } from "./paths.ts";

const POLICY_CHARS_MAX = 65_536;
const POLICY_ROOTS_MAX = 256;

const RootSchema = v.pipe(
  v.string("must be a path in quotes"),
  v.rawCheck(({ dataset, addIssue }) => {
    const problem = dataset.typed ? absolutePathProblem(dataset.value) : null;
    if (problem !== null) addIssue({ message: `${problem}; write an absolute path like "/srv/data"` });
  }),
);
const roots = v.optional(
  v.pipe(v.array(RootSchema, "must be a list of paths"), v.maxLength(POLICY_ROOTS_MAX)),
  [],
);
const ceiling = v.optional(
  v.pipe(v.number("must be a whole number"), v.safeInteger("must be a whole number"), v.minValue(1)),
);

/** An absent table or key allows nothing: the policy opens, it never closes by being forgotten. */
const PolicySchema = v.strictObject({
  kinds: v.optional(v.strictObject({ allow: v.optional(v.array(v.picklist(JOB_KINDS)), []) }), {}),
  files: v.optional(v.strictObject({ read: roots, write: roots, deny: roots }), {}),
  commands: v.optional(
    v.strictObject({
      allow: v.optional(v.picklist(["system", "none"], 'must be "system" or "none"'), "none"),
    }),
    {},
  ),
  limits: v.optional(
    v.strictObject({
      weak: v.optional(v.picklist(["refuse", "allow"], 'must be "refuse" or "allow"'), "refuse"),
      timeout_s: ceiling,
      memory_bytes: ceiling,
      pids: ceiling,
      output_bytes: ceiling,
      workspace_bytes: ceiling,
    }),
    {},
  ),
});

/** The operator's veto over what the Control Plane may ask of this host. */
export type Policy = v.InferOutput<typeof PolicySchema>;

export type ParsedPolicy =
  | { readonly ok: true; readonly policy: Policy }
  | { readonly ok: false; readonly why: string };

/** Reads policy.toml (TOML 1.0). A syntax error names line and column, an unknown key or a wrong value its key. */
export function parsePolicy(text: string): ParsedPolicy {
  if (text.length > POLICY_CHARS_MAX) return bad(`it is longer than ${POLICY_CHARS_MAX} characters`);
  let document: unknown;
  try {
    document = parse(text, { unsafeKeyBehaviour: "throw" });
  } catch (error) {
    return bad(tomlProblem(error));
  }
  const result = v.safeParse(PolicySchema, document, { abortEarly: true });
  return result.success ? { ok: true, policy: result.output } : bad(schemaProblem(result.issues[0]));
}

const bad = (why: string): ParsedPolicy => ({ ok: false, why });

function tomlProblem(error: unknown): string {
  if (!(error instanceof TomlError)) throw error;
  const first = error.message.split("\n", 1)[0] ?? "";
  return `line ${error.line}, column ${error.column}: ${first.replace("Invalid TOML document: ", "")}`;
}

function schemaProblem(issue: v.BaseIssue<unknown>): string {
  const key = v.getDotPath(issue) ?? "(document)";
  if (issue.type === "strict_object" && issue.expected === "never") return `unknown key "${key}"`;
  return `"${key}": ${issue.message}`;
}
