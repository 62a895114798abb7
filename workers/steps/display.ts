import { printable } from "../../src/fault/fault.ts";
import { LIMITS } from "../../src/protocol/limits.ts";

/** One line of a job's own text for a result: white space folded, control characters escaped, at most 500 characters. */
export function displayLine(text: string): string {
  // Cut first: a message may be megabytes long.
  const folded = text
    .slice(0, 4 * LIMITS.RESULT_MESSAGE_CHARS)
    .replace(/\s+/g, " ")
    .trim();
  return cut(printable(folded.toWellFormed()), LIMITS.RESULT_MESSAGE_CHARS);
}

/** Several lines of a job's own text: newlines and tabs stay, other control characters are escaped; the end is kept. */
export function displayEnd(bytes: Uint8Array, chars: number): string {
  const lines = new TextDecoder().decode(bytes).split("\n");
  const safe = lines.flatMap((line) => line.split("\t").map(escapeAll).join("\t")).join("\n");
  return safe.slice(-chars).toWellFormed();
}

/** `printable` shortens; a line of output must keep its length. */
function escapeAll(text: string): string {
  const STEP = 200;
  let out = "";
  for (let at = 0; at < text.length; at += STEP) out += printable(text.slice(at, at + STEP));
  return out;
}

const cut = (text: string, chars: number): string =>
  text.length > chars ? `${text.slice(0, chars - 1).toWellFormed()}…` : text;
