import { invariant } from "../../src/fault/fault.ts";
import { type EscapeReader, NONE, newEscape } from "./escapes.ts";

/** Length of the pieces looked for. */
const GRAM = 4;
/** No stretch longer than this is asked of a pattern; more would only make fewer, longer leaps. */
const STRETCH_MAX = 16;

/** Bits for each piece: so rarely does another one trip in its place. */
const ROOM = 128;

/** One kind of escape. */
export interface EscapeKind {
  /** The character it begins with. */
  readonly first: string;
  readonly reader: EscapeReader;
  /** The one character it can stand for, when there is only one. */
  readonly only?: string;
}

type Kind = Pick<EscapeKind, "reader"> & { readonly first: number };

/**
 * Finds the places where reading closely is worth while, and leaps over the rest: most text holds no secret in any form.
 *
 * Every form of a pattern shows, near its beginning, `stretch` bytes in a row as one of the plain encoders writes them
 * (a line break in wrapped digits leaves such a row on one of its sides), or else an escape that stands for one of the
 * pattern's first bytes. So it is enough to look at every (stretch - 3)rd place for four bytes out of such a row, and at
 * every escape.
 */
export class TripWire {
  /** At most so far behind the beginning of a form it trips. */
  readonly reach: number;
  private readonly leap: number;
  /** One bit for each hash of a piece. */
  private readonly table: Int32Array;
  private readonly shift: number;
  /** Bytes a pattern has among its first ones. */
  private readonly leading = new Uint8Array(256);
  readonly kinds: readonly Kind[];
  private readonly escape = newEscape();

  /** Patterns are at least six bytes long. */
  constructor(patterns: readonly Uint8Array[], escapes: readonly EscapeKind[]) {
    const shortest = Math.min(...patterns.map(({ length }) => length));
    const stretch = Math.min(STRETCH_MAX, shortest, Math.ceil(coreLength(shortest) / 2));
    const window = 2 * stretch; // one digit may be gone with the part before, and a line break leave half the rest
    invariant(stretch >= GRAM, "a pattern is long enough to be looked for by its pieces");
    this.leap = stretch - GRAM + 1;
    this.reach = window + 5; // a digit that is half another's, two bytes of line break, and room
    const leads = new Set(patterns.flatMap((pattern) => leadsOf(pattern, window)));
    const bits = Math.min(24, Math.max(17, Math.ceil(Math.log2(leads.size * window * ROOM))));
    this.table = new Int32Array(2 ** (bits - 5));
    this.shift = 32 - bits;
    for (const lead of leads) this.enter(Buffer.from(lead, "latin1"));
    for (const pattern of patterns) for (const byte of pattern.subarray(0, stretch)) this.leading[byte] = 1;
    this.kinds = escapes
      .filter(({ only }) => only === undefined || this.leading[only.charCodeAt(0)] === 1)
      .map(({ first, reader }) => ({ first: first.charCodeAt(0), reader }));
  }

  /** Watches one text. */
  over(text: Uint8Array): Watch {
    return new Watch(text, this);
  }

  /** The first place from `from` to `last` where a piece of a pattern may stand, or `last` + 1. */
  nextPiece(text: Uint8Array, from: number, last: number): number {
    const { table, shift, leap } = this;
    for (let at = from; at <= last; at += leap) {
      const bit = hashAt(text, at) >>> shift;
      if ((((table[bit >>> 5] ?? 0) >>> (bit & 31)) & 1) === 1) return at;
    }
    return last + 1;
  }

  /** The first place from `from` on where an escape stands for what a pattern begins with, or the text's length. */
  nextEscape(text: Uint8Array, from: number, { first, reader }: Kind): number {
    for (let at = text.indexOf(first, from); at !== -1; at = text.indexOf(first, at + 1)) {
      const length = reader(text, at, this.escape);
      if (length === NONE) continue;
      if (length < 0 || this.leading[this.escape.bytes[0] ?? 0] === 1) return at;
    }
    return text.length;
  }

  private enter(lead: Uint8Array): void {
    for (let at = 0; at + GRAM <= lead.length; at++) {
      const bit = hashAt(lead, at) >>> this.shift;
      this.table[bit >>> 5] = (this.table[bit >>> 5] ?? 0) | (1 << (bit & 31));
    }
  }
}

function hashAt(text: Uint8Array, at: number): number {
  const gram =
    (text[at] ?? 0) | ((text[at + 1] ?? 0) << 8) | ((text[at + 2] ?? 0) << 16) | ((text[at + 3] ?? 0) << 24);
  return Math.imul(gram, 0x9e3779b1);
}

/** One text, and how far it is known to be without an escape that trips. */
export class Watch {
  private readonly text: Uint8Array;
  private readonly wire: TripWire;
  private readonly known: Int32Array;

  constructor(text: Uint8Array, wire: TripWire) {
    this.text = text;
    this.wire = wire;
    this.known = new Int32Array(wire.kinds.length).fill(-1);
  }

  /** The first place at or after `from` that trips, or the text's length. `from` never goes back. */
  next(from: number): number {
    const { text, wire, known } = this;
    let trip = text.length;
    for (const [index, kind] of wire.kinds.entries()) {
      let place = known[index] ?? -1;
      if (place < from) {
        place = wire.nextEscape(text, from, kind);
        known[index] = place;
      }
      trip = Math.min(trip, place);
    }
    const last = Math.min(trip, text.length - GRAM);
    const piece = wire.nextPiece(text, from, last);
    return piece > last ? trip : piece;
  }
}

/** How many base64 digits tell of `bytes` bytes and nothing else, at the worst of the three offsets. */
const coreLength = (bytes: number): number => Math.floor((8 * bytes - 4) / 6);

/** The beginnings of a pattern as the plain encoders write it, `window` bytes of each at most, one byte a character. */
function leadsOf(pattern: Uint8Array, window: number): string[] {
  const raw = Buffer.from(pattern.subarray(0, window));
  const hex = raw.toString("hex");
  const digits = [0, 1, 2].map((offset) => {
    const whole = Buffer.concat([Buffer.alloc(offset), raw]).toString("base64");
    const skipped = offset === 0 ? 0 : offset + 1;
    return whole.slice(skipped, skipped + coreOf(raw.length, offset));
  });
  const urlDigits = digits.map((text) => text.replaceAll("+", "-").replaceAll("/", "_"));
  return [raw.toString("latin1"), hex, hex.toUpperCase(), ...digits, ...urlDigits].map((text) =>
    text.slice(0, window),
  );
}

/** Base64 digits that hold bits of `bytes` bytes alone when `offset` others stand before them. */
const coreOf = (bytes: number, offset: number): number =>
  Math.floor((8 * (bytes + offset)) / 6) - (offset === 0 ? 0 : offset + 1);
