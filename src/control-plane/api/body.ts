import type * as v from "valibot";
import { fault } from "../../fault/fault.ts";
import { parseDocument } from "../../protocol/json.ts";
import { LIMITS } from "../../protocol/limits.ts";
import type { BodyRule } from "./route.ts";

const MEDIA_TYPES = {
  json: "application/json",
  form: "application/x-www-form-urlencoded",
  bytes: "application/octet-stream",
} as const;

/** Reads a body by its route's rule: type, then size as declared, then no byte more than the limit, in bounded time. */
export async function readBody(request: Request, rule: BodyRule): Promise<Uint8Array> {
  if (rule.type === "none" || rule.type === "stream") return new Uint8Array();
  requireMediaType(request, MEDIA_TYPES[rule.type]);
  if (Number(request.headers.get("content-length") ?? 0) > rule.limit) {
    throw fault("API_BODY_OVERSIZED", { limit: rule.limit });
  }
  const deadline = AbortSignal.timeout(LIMITS.REQUEST_TIMEOUT_MS);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of bodyOf(request)) {
    size += chunk.length;
    if (size > rule.limit) throw fault("API_BODY_OVERSIZED", { limit: rule.limit });
    if (deadline.aborted) throw fault("API_BODY_MALFORMED", { path: "(body)", why: "it takes too long" });
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

/** The body as it arrives; empty when there is none. */
export async function* bodyOf(request: Request): AsyncGenerator<Uint8Array> {
  if (request.body === null) return;
  for await (const chunk of request.body) yield chunk;
}

/** Throws API_MEDIA_TYPE unless the request says exactly this type; a charset must be UTF-8. */
export function requireMediaType(request: Request, expected: string): void {
  const found = request.headers.get("content-type") ?? "";
  const [type = "", ...parameters] = found.split(";").map((part) => part.trim().toLowerCase());
  const plain = parameters.every((parameter) => /^charset="?utf-8"?$/.test(parameter));
  if (type !== expected || !plain) throw fault("API_MEDIA_TYPE", { found, expected });
}

/** Parses a JSON body; the path of what is wrong comes back with the complaint. Throws API_BODY_MALFORMED. */
export function parseBody<S extends v.GenericSchema>(body: Uint8Array, schema: S): v.InferOutput<S> {
  const parsed = parseDocument(body, schema);
  if (parsed.ok) return parsed.value;
  throw fault("API_BODY_MALFORMED", { path: parsed.path, why: parsed.why });
}

/** Parses a form body: only names of `names`, each exactly once (RFC 6749 section 3.2). Throws API_BODY_MALFORMED. */
export function parseForm<Name extends string>(
  body: Uint8Array,
  names: readonly Name[],
): Readonly<Record<Name, string>> {
  const values = singleValues(new URLSearchParams(new TextDecoder().decode(body)), names);
  const missing = names.find((name) => values[name] === undefined);
  if (missing !== undefined) throw fault("API_BODY_MALFORMED", { path: missing, why: "is missing" });
  return values as Record<Name, string>;
}

/** The values of a form or a query, each name known and given at most once. Throws API_BODY_MALFORMED. */
export function singleValues(
  found: URLSearchParams,
  names: readonly string[],
): Record<string, string | undefined> {
  const values: Record<string, string | undefined> = {};
  for (const [name, value] of found) {
    if (!names.includes(name)) throw fault("API_BODY_MALFORMED", { path: name, why: "is not known here" });
    if (Object.hasOwn(values, name)) throw fault("API_BODY_MALFORMED", { path: name, why: "is given twice" });
    values[name] = value;
  }
  return values;
}

/** A whole number of a query. Throws API_BODY_MALFORMED. */
export function queryNumber(
  value: string | undefined,
  name: string,
  bounds: { readonly fallback: number; readonly max: number },
): number {
  if (value === undefined) return bounds.fallback;
  const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
  if (number <= bounds.max) return number;
  throw fault("API_BODY_MALFORMED", { path: name, why: `must be a whole number of at most ${bounds.max}` });
}
