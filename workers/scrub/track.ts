import type { Automaton } from "./automaton.ts";

/** Where a pattern was found: places in the text as it came, the end not included. */
export interface Finding {
  readonly start: number;
  readonly end: number;
  readonly pattern: number;
}

/** Findings not yet acted on. One that lies within another is dropped as soon as that is seen. */
export class Findings {
  private list: Finding[] = [];

  add(finding: Finding): void {
    for (let last = this.list.at(-1); last !== undefined; last = this.list.at(-1)) {
      if (last.start <= finding.start && last.end >= finding.end) return;
      if (last.start < finding.start || last.end > finding.end) break;
      this.list.pop();
    }
    this.list.push(finding);
  }

  /** Takes out those that begin before `place`, first begun first, the longer of two first. */
  takeBefore(place: number): readonly Finding[] {
    if (this.list.length === 0) return this.list;
    const taken = this.list.filter(({ start }) => start < place);
    this.list = this.list.filter(({ start }) => start >= place);
    return taken.sort((a, b) => a.start - b.start || b.end - a.end);
  }
}

/** One reading of the text on its way through the automaton, which remembers where each byte of it came from. */
export class Track {
  private readonly automaton: Automaton;
  private readonly findings: Findings;
  /** Where the last bytes read began in the text as it came; as many as the longest pattern has. */
  private readonly starts: Float64Array;
  private readonly mask: number;
  private count = 0;
  private state = 0;

  constructor(automaton: Automaton, findings: Findings) {
    this.automaton = automaton;
    this.findings = findings;
    const size = 2 ** Math.ceil(Math.log2(automaton.longest + 1));
    this.starts = new Float64Array(size);
    this.mask = size - 1;
  }

  /** Takes one byte of the reading, which `start` to `end` of the text stand for. */
  take(byte: number, start: number, end: number): void {
    const state = this.automaton.step(this.state, byte);
    this.state = state;
    this.starts[this.count & this.mask] = start;
    this.count += 1;
    const pattern = this.automaton.matched[state] ?? -1;
    if (pattern >= 0) {
      this.findings.add({ start: this.startOf(this.automaton.lengthOf(pattern)), end, pattern });
    }
  }

  /** True when `byte` as the next one would begin a pattern or go on with one. */
  leads(byte: number): boolean {
    return this.automaton.step(this.state, byte) !== 0;
  }

  reset(): void {
    this.state = 0;
  }

  /** Where what may become a finding begins; infinity when there is nothing. */
  get openFrom(): number {
    const depth = this.automaton.depth[this.state] ?? 0;
    return depth === 0 ? Number.POSITIVE_INFINITY : this.startOf(depth);
  }

  private startOf(length: number): number {
    return this.starts[(this.count - length) & this.mask] ?? 0;
  }
}
