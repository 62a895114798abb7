import type { ExitStatus } from "./exit.ts";
import { FAULTS, type FaultCode } from "./registry.ts";
import type { FaultRow, RetryClass } from "./table.ts";

type Names<Text extends string> = Text extends `${string}{${infer Name}}${infer Rest}`
  ? Name | Names<Rest>
  : never;

/** The parameters a code's sentence and remedy name, each a string or a number. */
export type FaultParams<Code extends FaultCode> = Readonly<
  Record<Names<(typeof FAULTS)[Code]["sentence"]> | Names<(typeof FAULTS)[Code]["remedy"]>, string | number>
>;

const VALUE_CHARS_MAX = 400;

/** A failure with a code. Made by `fault()` only; carries everything a person or a program needs to act on it. */
export class Fault extends Error {
  override readonly name = "Fault";
  readonly code: FaultCode;
  readonly remedy: string;
  readonly exit: ExitStatus;
  readonly retry: RetryClass;
  readonly params: Readonly<Record<string, string | number>>;

  constructor(code: FaultCode, params: Readonly<Record<string, string | number>>, cause?: unknown) {
    const row: FaultRow = FAULTS[code];
    super(fill(row.sentence, params), cause === undefined ? undefined : { cause });
    this.code = code;
    this.remedy = fill(row.remedy, params);
    this.exit = row.exit;
    this.retry = row.retry;
    this.params = params;
  }

  /** The fault as one JSON object, as `--json` prints it and the wire carries it. */
  toJSON(): { code: FaultCode; message: string; remedy: string; exit: ExitStatus } {
    return { code: this.code, message: this.message, remedy: this.remedy, exit: this.exit };
  }
}

/** Makes the fault `code`; a missing or misspelt parameter does not compile. */
export function fault<Code extends FaultCode>(
  code: Code,
  ...rest: keyof FaultParams<Code> extends never
    ? [params?: Readonly<Record<string, never>>, cause?: unknown]
    : [params: FaultParams<Code>, cause?: unknown]
): Fault {
  return new Fault(code, rest[0] ?? {}, rest[1]);
}

/** True when `error` is a fault, of the given code when one is given. */
export function isFault(error: unknown, code?: FaultCode): error is Fault {
  return error instanceof Fault && (code === undefined || error.code === code);
}

/** Turns whatever was thrown into a fault: a Fault as it is, anything else INTERNAL_ERROR naming it. */
export function asFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  return fault("INTERNAL_ERROR", { what: reasonOf(error) }, error);
}

/** The shortest honest text of an unknown error, without control characters, at most 400 characters. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return printable(text);
}

/** The errno name of a system error ("ENOENT"), or "". */
export function errnoOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

/** Our own bug when `condition` is false. Never caught, never a fault a user can act on. */
export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(`Invariant broken: ${what}`);
}

function fill(text: string, params: Readonly<Record<string, string | number>>): string {
  return text.replace(/\{([a-z_]+)\}/g, (whole, name: string) => {
    const value = params[name];
    return value === undefined ? whole : printable(String(value));
  });
}

/** Outside text reaches terminals through faults: control and bidi characters become \uXXXX escapes. */
export function printable(text: string): string {
  // A cut through a surrogate pair would make the whole message one that no strict reader of JSON takes.
  const cut = text.length > VALUE_CHARS_MAX ? `${text.slice(0, VALUE_CHARS_MAX).toWellFormed()}…` : text;
  return cut.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (c) => `\\u${(c.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`,
  );
}
