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
 * Parses one JSON document strictly: valid UTF-8 text, no duplicate members at any depth, no `__proto__`,
 * no number beyond the safe range, at most 32 levels, nothing after the value (RFC 8259, RFC 7493 section 2.3).
 */
export function parseJson(text: string): Parsed<unknown> {
  const problem = scan(text);
  if (problem !== null) return misfit(problem);
  try {
    return { ok: true, value: JSON.parse(text) as unknown };
  } catch (error) {
    return misfit(`is not JSON (${error instanceof Error ? error.message : String(error)})`);
  }
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
  if (result.success) return { ok: true, value: result.output };
  const issue = result.issues[0];
  return { ok: false, path: v.getDotPath(issue) ?? "(document)", why: issue.message };
}

const misfit = (why: string): Misfit => ({ ok: false, path: "(document)", why });

const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[{}[\]]/g;

/** Finds what JSON.parse would let through in silence. Returns the complaint, or null. */
function scan(text: string): string | null {
  const open: (Set<string> | null)[] = [];
  for (const match of text.matchAll(TOKEN)) {
    const token = match[0];
    const first = token[0];
    if (first === "{" || first === "[") {
      open.push(first === "{" ? new Set() : null);
      if (open.length > LIMITS.JSON_DEPTH) return `is nested deeper than ${LIMITS.JSON_DEPTH} levels`;
    } else if (first === "}" || first === "]") {
      open.pop();
    } else if (first === '"') {
      const complaint = member(text, match.index + token.length, token, open.at(-1));
      if (complaint !== null) return complaint;
    } else if (!safeNumber(token)) {
      return `holds the number ${token.slice(0, 24)}, which not every reader can represent`;
    }
  }
  return null;
}

function member(
  text: string,
  after: number,
  token: string,
  names: Set<string> | null | undefined,
): string | null {
  if (!names || !/^[ \t\r\n]*:/.test(text.slice(after, after + 64))) return null;
  let name: string;
  try {
    name = JSON.parse(token) as string;
  } catch {
    return "holds a malformed member name"; // JSON.parse of the whole would complain as well
  }
  if (name === "__proto__") return 'holds the member "__proto__"';
  if (names.has(name)) return `holds the member "${name}" twice`;
  names.add(name);
  return null;
}

function safeNumber(token: string): boolean {
  const value = Number(token);
  if (!Number.isFinite(value)) return false;
  return Math.abs(value) <= Number.MAX_SAFE_INTEGER;
}
