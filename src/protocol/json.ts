import * as v from "valibot";
import { LIMITS } from "./limits.ts";

/** Why a text is not acceptable JSON, or why its value does not fit the schema: where, and what is wrong there. */
export interface Misfit {
  readonly ok: false;
  /** Dotted path to the offending place, `(document)` for the whole. */
  readonly path: string;
  readonly why: string;
}

export type Parsed<T> = { readonly ok: true; readonly value: T } | Misfit;

/**
 * Parses one JSON document strictly: well-formed Unicode, also where it is escaped, no duplicate members at any depth, no
 * `__proto__` and its kin, no number beyond the safe range, at most 32 levels, nothing after the value (RFC 8259, RFC 7493
 * section 2). Takes time linear in the text's length, whatever the text.
 */
export function parseJson(text: string): Parsed<unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return misfit(`is not JSON (${error instanceof Error ? error.message : String(error)})`);
  }
  const problem = text.isWellFormed() ? scan(text) : LONE_SURROGATE;
  return problem === null ? { ok: true, value } : misfit(problem);
}

/** Bytes → strict JSON → schema. The one door for every document that comes from outside. */
export function parseDocument<S extends v.GenericSchema>(
  bytes: Uint8Array | string,
  schema: S,
): Parsed<v.InferOutput<S>> {
  let text: string;
  try {
    text =
      typeof bytes === "string"
        ? bytes
        : new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return misfit("is not valid UTF-8"); // the decoder has only this one complaint
  }
  const json = parseJson(text);
  return json.ok ? parseValue(json.value, schema) : json;
}

/** Checks an already parsed value; the path of the first issue comes back with its text. */
export function parseValue<S extends v.GenericSchema>(value: unknown, schema: S): Parsed<v.InferOutput<S>> {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) {
    const path = listTakenForObject(value, result.output);
    return path === null
      ? { ok: true, value: result.output }
      : { ok: false, path: path || "(document)", why: "must be an object, not a list" };
  }
  const issue = result.issues[0];
  return { ok: false, path: v.getDotPath(issue) ?? "(document)", why: issue.message };
}

/** valibot's object schemas take a list whose members would all be optional. Answers the path of the first, or null. */
function listTakenForObject(input: unknown, output: unknown, path = ""): string | null {
  if (input === output || typeof input !== "object" || input === null) return null;
  if (Array.isArray(input) !== Array.isArray(output)) return path;
  if (typeof output !== "object" || output === null) return null;
  for (const [name, member] of Object.entries(output)) {
    const found = listTakenForObject(
      (input as Record<string, unknown>)[name],
      member,
      path ? `${path}.${name}` : name,
    );
    if (found !== null) return found;
  }
  return null;
}

const misfit = (why: string): Misfit => ({ ok: false, path: "(document)", why });

/** Names that schemas drop in silence to keep prototypes safe: what was signed must be what is read. */
const LOST_NAMES: readonly string[] = ["__proto__", "constructor", "prototype"];

const LONE_SURROGATE = "holds half a surrogate pair";

/** A string with the colon that makes it a member's name, a number, or a bracket. For texts known to be JSON. */
const TOKEN = /("[^"\\]*(?:\\.[^"\\]*)*")(?:[ \t\r\n]*(:))?|-?\d[\d.eE+-]*|[{}[\]]/g;

/** Finds in a JSON text what JSON.parse lets through in silence. Returns the complaint, or null. */
function scan(text: string): string | null {
  const open: (Set<string> | null)[] = [];
  for (const [token, string, colon] of text.matchAll(TOKEN)) {
    let complaint: string | null = null;
    if (token === "{" || token === "[") {
      open.push(token === "{" ? new Set() : null);
      if (open.length > LIMITS.JSON_DEPTH) complaint = `is nested deeper than ${LIMITS.JSON_DEPTH} levels`;
    } else if (token === "}" || token === "]") {
      open.pop();
    } else if (string === undefined) {
      if (!safeNumber(token)) {
        complaint = `holds the number ${token.slice(0, 24)}, which not every reader can represent`;
      }
    } else if (colon === undefined) {
      if (string.includes("\\u") && !decoded(string).isWellFormed()) complaint = LONE_SURROGATE;
    } else {
      complaint = nameProblem(decoded(string), open.at(-1));
    }
    if (complaint !== null) return complaint;
  }
  return null;
}

function nameProblem(name: string, names: Set<string> | null | undefined): string | null {
  if (!name.isWellFormed()) return LONE_SURROGATE;
  if (LOST_NAMES.includes(name)) return `holds the member "${name}"`;
  if (names?.has(name)) return `holds the member "${name.slice(0, 64)}" twice`;
  names?.add(name);
  return null;
}

const decoded = (string: string): string => JSON.parse(string) as string;

function safeNumber(token: string): boolean {
  const value = Number(token);
  return Number.isFinite(value) && Math.abs(value) <= Number.MAX_SAFE_INTEGER;
}
