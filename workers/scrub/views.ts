import type { Automaton } from "./automaton.ts";
import { type EscapeReader, HEX_VALUES, MORE, NONE, newEscape, valuesOf } from "./escapes.ts";
import { type Findings, Track } from "./track.ts";
import type { EscapeKind } from "./trip-wire.ts";

/** A part of the text as it came: `bytes[0]` stands at `base`. `last` when nothing follows. */
export interface Stretch {
  readonly bytes: Uint8Array;
  readonly base: number;
  readonly last: boolean;
}

/** One way to read the text: as it is, or with one kind of encoding undone. */
export interface View {
  /** Reads on up to `until`, or a little further to the end of an escape that began before it. */
  run(stretch: Stretch, until: number): void;
  /** Forgets what was read and goes on at `at`. */
  restart(at: number): void;
  /** Where what may become a finding begins, an escape cut short by the end of the stretch included; or infinity. */
  readonly openFrom: number;
}

/** The text with escape sequences undone, each known by its first byte; with none, the text as it is. */
export class EscapeView implements View {
  private readonly readers: readonly (EscapeReader | undefined)[];
  private readonly track: Track;
  private readonly escape = newEscape();
  private next = 0;
  private waiting = false;

  constructor(automaton: Automaton, findings: Findings, kinds: readonly EscapeKind[]) {
    this.track = new Track(automaton, findings);
    const table: (EscapeReader | undefined)[] = new Array(256).fill(undefined);
    for (const { first, reader } of kinds) table[first.charCodeAt(0)] = reader;
    this.readers = table;
  }

  run({ bytes, base, last }: Stretch, until: number): void {
    this.waiting = false;
    while (this.next < until) {
      const at = this.next - base;
      const byte = bytes[at] ?? 0;
      const reader = this.readers[byte];
      const length = reader === undefined ? NONE : reader(bytes, at, this.escape);
      if (length === MORE && !last) {
        this.waiting = true;
        return;
      }
      // One that leads nowhere is text like any other: what begins inside it must not be missed.
      if (length > 0 && this.track.leads(this.escape.bytes[0] ?? 0)) this.takeEscape(length);
      else this.takeOne(byte);
    }
  }

  restart(at: number): void {
    this.track.reset();
    this.next = at;
    this.waiting = false;
  }

  get openFrom(): number {
    return this.waiting ? Math.min(this.next, this.track.openFrom) : this.track.openFrom;
  }

  private takeOne(byte: number): void {
    this.track.take(byte, this.next, this.next + 1);
    this.next += 1;
  }

  private takeEscape(length: number): void {
    const end = this.next + length;
    for (let index = 0; index < this.escape.count; index++) {
      this.track.take(this.escape.bytes[index] ?? 0, this.next, end);
    }
    this.next = end;
  }
}

const BASE64_VALUES = valuesOf([
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
]);

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/**
 * The text read as digits of `bits` bits each, at every alignment of bytes to digits: base64 in either alphabet (6 bits,
 * RFC 4648 sections 4 and 5) and hexadecimal (4 bits). One line break may stand between digits, since encoders wrap.
 */
export class DigitView implements View {
  private readonly values: Int8Array;
  private readonly bits: number;
  /** One for each digit of a group at which a byte may begin. */
  private readonly tracks: readonly Track[];
  private next = 0;
  private digits = 0;
  private value = 0;
  private valueAt = 0;
  private breaks = 0;

  private constructor(automaton: Automaton, findings: Findings, values: Int8Array, bits: 4 | 6) {
    this.values = values;
    this.bits = bits;
    const group = bits === 6 ? 4 : 2;
    this.tracks = Array.from({ length: group }, () => new Track(automaton, findings));
  }

  static base64(automaton: Automaton, findings: Findings): DigitView {
    return new DigitView(automaton, findings, BASE64_VALUES, 6);
  }

  static hex(automaton: Automaton, findings: Findings): DigitView {
    return new DigitView(automaton, findings, HEX_VALUES, 4);
  }

  run({ bytes, base }: Stretch, until: number): void {
    for (; this.next < until; this.next++) {
      const byte = bytes[this.next - base] ?? 0;
      const value = this.values[byte] ?? -1;
      if (value >= 0) this.takeDigit(value);
      else if (this.digits > 0 && !this.isBreak(byte)) this.forget();
    }
  }

  restart(at: number): void {
    this.forget();
    this.next = at;
  }

  get openFrom(): number {
    let first = Number.POSITIVE_INFINITY;
    for (const track of this.tracks) first = Math.min(first, track.openFrom);
    return first;
  }

  /** The digit ends a byte for every alignment but the one at which it begins a group. */
  private takeDigit(value: number): void {
    const group = this.tracks.length;
    if (this.digits > 0) {
      const both = (this.value << this.bits) | value;
      for (let place = 1; place < group; place++) {
        // Byte number `place` of the group: its last bits are the first of this digit.
        const spare = this.bits * (place + 1) - 8 * place;
        this.trackAt(this.digits - place).take((both >> spare) & 0xff, this.valueAt, this.next + 1);
      }
    }
    this.value = value;
    this.valueAt = this.next;
    this.digits += 1;
    this.breaks = 0;
  }

  private trackAt(digit: number): Track {
    const group = this.tracks.length;
    return this.tracks[((digit % group) + group) % group] as Track;
  }

  /** CR LF or LF, once: more would let a text of nothing else be held back without end. */
  private isBreak(byte: number): boolean {
    if (byte !== LINE_FEED && byte !== CARRIAGE_RETURN) return false;
    this.breaks += 1;
    return this.breaks <= 2;
  }

  private forget(): void {
    for (const track of this.tracks) track.reset();
    this.digits = 0;
    this.breaks = 0;
  }
}
