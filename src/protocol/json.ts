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
 * `__proto__` and its kin, no number beyond the safe range, whole numbers in plain digits, at most 32 levels, nothing after
 * the value (RFC 8259, RFC 7493 section 2). Takes time linear in the text's length, whatever the text.
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
  for (const name of Object.keys(output)) {
    const member = (output as Record<string, unknown>)[name];
    if (typeof member !== "object") continue;
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

const CHAR = { quote: 0x22, minus: 0x2d, zero: 0x30, nine: 0x39, colon: 0x3a, backslash: 0x5c } as const;
const [LIST, LIST_END, OBJECT, OBJECT_END] = [0x5b, 0x5d, 0x7b, 0x7d] as const;

/** Finds in a JSON text what JSON.parse lets through in silence. Returns the complaint, or null. */
function scan(text: string): string | null {
  /** For each object the place is in, the names it has had so far; null for each list. */
  const open: (Set<string> | null)[] = [];
  let at = 0;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    let end = at + 1;
    let complaint: string | null = null;
    if (code === CHAR.quote) {
      end = afterString(text, at);
      const raw = text.slice(at, end);
      end = afterSpace(text, end);
      complaint = text.charCodeAt(end) === CHAR.colon ? nameProblem(raw, open.at(-1)) : textProblem(raw);
    } else if (code === CHAR.minus || (code >= CHAR.zero && code <= CHAR.nine)) {
      end = afterNumber(text, at);
      complaint = numberProblem(text.slice(at, end));
    } else if (code === OBJECT || code === LIST) {
      open.push(code === OBJECT ? new Set() : null);
      if (open.length > LIMITS.JSON_DEPTH) complaint = `is nested deeper than ${LIMITS.JSON_DEPTH} levels`;
    } else if (code === OBJECT_END || code === LIST_END) {
      open.pop();
    }
    if (complaint !== null) return complaint;
    at = end;
  }
  return null;
}

/** Each run of backslashes stands before one quote at most, so all of them are counted once. */
function afterString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); ; quote = text.indexOf('"', quote + 1)) {
    let run = quote;
    while (text.charCodeAt(run - 1) === CHAR.backslash) run -= 1;
    if ((quote - run) % 2 === 0) return quote + 1;
  }
}

function afterSpace(text: string, start: number): number {
  let at = start;
  while (" \t\r\n".includes(text[at] ?? "x")) at += 1;
  return at;
}

function afterNumber(text: string, start: number): number {
  let at = start + 1;
  while ("0123456789.eE+-".includes(text[at] ?? "x")) at += 1;
  return at;
}

const decoded = (raw: string): string => JSON.parse(raw) as string;

const textProblem = (raw: string): string | null =>
  raw.includes("\\u") && !decoded(raw).isWellFormed() ? LONE_SURROGATE : null;

function nameProblem(raw: string, names: Set<string> | null | undefined): string | null {
  const name = decoded(raw);
  if (!name.isWellFormed()) return LONE_SURROGATE;
  if (LOST_NAMES.includes(name)) return `holds the member "${name}"`;
  if (names?.has(name)) return `holds the member "${name.slice(0, 64)}" twice`;
  names?.add(name);
  return null;
}

const numberProblem = (token: string): string | null =>
  safeNumber(token)
    ? null
    : `holds the number ${token.slice(0, 24)}, which not every reader takes for the same`;

/**
 * In range, and whole numbers spelt the one way every writer spells them: `-0`, `1.0` and `1e3` are not, and neither is
 * what is whole only after rounding (`1e-400`, `9007199254740991.4`).
 */
function safeNumber(token: string): boolean {
  const value = Number(token);
  if (!Number.isFinite(value) || Math.abs(value) > Number.MAX_SAFE_INTEGER) return false;
  return !Number.isInteger(value) || token === String(value);
}
