import { Automaton } from "./automaton.ts";
import { QUOTE_READERS, readBackslash, readEntity, readPercent, readPlus } from "./escapes.ts";
import type { SecretPattern } from "./secret-patterns.ts";
import type { Findings } from "./track.ts";
import { type EscapeKind, TripWire } from "./trip-wire.ts";
import { DigitView, EscapeView, type View } from "./views.ts";

/** What all texts of a job are searched with: made once, changed by none. */
export interface CompiledScrub {
  readonly wire: TripWire;
  /** What stands in place of each pattern. */
  readonly marks: readonly Uint8Array[];
  /** Fresh readings of one text; what they find goes to `findings`. */
  readonly views: (findings: Findings) => readonly View[];
}

const PERCENT: EscapeKind = { first: "%", reader: readPercent };
const PLUS: EscapeKind = { first: "+", reader: readPlus, only: " " };
const QUOTES = QUOTE_READERS.map((reader): EscapeKind => ({ first: "'", reader, only: "'" }));

/** The escapes undone together in one reading; with none, the text is read as it is. */
const READINGS: readonly (readonly EscapeKind[])[] = [
  [],
  [PERCENT],
  [{ first: "\\", reader: readBackslash }],
  [{ first: "&", reader: readEntity }],
];

/** `patterns` holds at least one. */
export function compileScrub(patterns: readonly SecretPattern[]): CompiledScrub {
  const bytes = patterns.map((pattern) => pattern.bytes);
  const automaton = new Automaton(bytes);
  const readings = [...READINGS];
  if (bytes.some((pattern) => pattern.includes(0x20))) readings.push([PERCENT, PLUS]);
  if (bytes.some((pattern) => pattern.includes(0x27))) readings.push(...QUOTES.map((kind) => [kind]));
  return {
    wire: new TripWire(bytes, [...new Set(readings.flat())]),
    marks: patterns.map(({ name }) => markOf(name, automaton)),
    views: (findings) => [
      ...readings.map((kinds) => new EscapeView(automaton, findings, kinds)),
      DigitView.base64(automaton, findings),
      DigitView.hex(automaton, findings),
    ],
  };
}

/** `[secret NAME]`, unless that itself holds a secret. */
function markOf(name: string, automaton: Automaton): Uint8Array {
  const marks = [`[secret ${name}]`, "[secret]", "[***]"].map((text) => Buffer.from(text));
  return marks.find((mark) => !automaton.finds(mark)) ?? new Uint8Array();
}
