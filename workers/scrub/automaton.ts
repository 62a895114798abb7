/**
 * Finds any of many byte patterns in one pass (Aho and Corasick, 1975): the state is the longest prefix of any pattern
 * that the text read so far ends with. Takes amortised constant time for a byte, whatever the text; memory is linear in
 * the patterns' bytes.
 */
export class Automaton {
  /** Length of the prefix a state stands for. */
  readonly depth: Int32Array;
  /** Index of the longest pattern that ends in a state, or -1. */
  readonly matched: Int32Array;
  readonly longest: number;
  private readonly lengths: readonly number[];
  private readonly root = new Int32Array(256);
  private readonly fallback: Int32Array;
  /** Edges of the trie below the root: state × 256 + byte + 1 → state, in an open-addressed table. */
  private readonly keys: Int32Array;
  private readonly targets: Int32Array;
  private readonly mask: number;

  /** Patterns must not be empty. */
  constructor(patterns: readonly Uint8Array[]) {
    const states = patterns.reduce((sum, { length }) => sum + length, 1);
    const capacity = 2 ** Math.ceil(Math.log2(2 * states + 2));
    this.keys = new Int32Array(capacity);
    this.targets = new Int32Array(capacity);
    this.mask = capacity - 1;
    this.depth = new Int32Array(states);
    this.matched = new Int32Array(states).fill(-1);
    this.fallback = new Int32Array(states);
    this.lengths = patterns.map(({ length }) => length);
    this.longest = Math.max(0, ...this.lengths);
    this.build(patterns);
  }

  /** The state after one more byte. */
  step(state: number, byte: number): number {
    let from = state;
    while (from !== 0) {
      const next = this.edge(from, byte);
      if (next !== 0) return next;
      from = this.fallback[from] ?? 0;
    }
    return this.root[byte] ?? 0;
  }

  lengthOf(pattern: number): number {
    return this.lengths[pattern] ?? 0;
  }

  /** True when `text` holds a pattern. */
  finds(text: Uint8Array): boolean {
    let state = 0;
    for (const byte of text) {
      state = this.step(state, byte);
      if ((this.matched[state] ?? -1) >= 0) return true;
    }
    return false;
  }

  private build(patterns: readonly Uint8Array[]): void {
    const parent = new Int32Array(this.depth.length);
    const entry = new Uint8Array(this.depth.length);
    let states = 1;
    for (const [index, pattern] of patterns.entries()) {
      let state = 0;
      for (const byte of pattern) {
        let next = state === 0 ? (this.root[byte] ?? 0) : this.edge(state, byte);
        if (next === 0) {
          next = states++;
          parent[next] = state;
          entry[next] = byte;
          this.depth[next] = (this.depth[state] ?? 0) + 1;
          this.connect(state, byte, next);
        }
        state = next;
      }
      if (this.matched[state] === -1) this.matched[state] = index;
    }
    for (const state of this.byDepth(states)) this.settle(state, parent[state] ?? 0, entry[state] ?? 0);
  }

  /** A state falls back to the longest proper suffix that is a prefix too; those are shorter, and settled before it. */
  private settle(state: number, parent: number, byte: number): void {
    const back = parent === 0 ? 0 : this.step(this.fallback[parent] ?? 0, byte);
    this.fallback[state] = back;
    if (this.matched[state] === -1) this.matched[state] = this.matched[back] ?? -1;
  }

  private byDepth(states: number): Int32Array {
    const order = new Int32Array(states - 1).map((_, index) => index + 1);
    return order.sort((a, b) => (this.depth[a] ?? 0) - (this.depth[b] ?? 0));
  }

  private edge(state: number, byte: number): number {
    const key = state * 256 + byte + 1;
    let slot = this.slotOf(key);
    for (let found = this.keys[slot]; found !== 0; found = this.keys[slot]) {
      if (found === key) return this.targets[slot] ?? 0;
      slot = (slot + 1) & this.mask;
    }
    return 0;
  }

  private connect(state: number, byte: number, target: number): void {
    if (state === 0) {
      this.root[byte] = target;
      return;
    }
    const key = state * 256 + byte + 1;
    let slot = this.slotOf(key);
    while (this.keys[slot] !== 0) slot = (slot + 1) & this.mask;
    this.keys[slot] = key;
    this.targets[slot] = target;
  }

  private slotOf(key: number): number {
    return (Math.imul(key, 0x9e3779b1) >>> 7) & this.mask;
  }
}
