// The one source of chance in a simulated world.

/** xoshiro128**, seeded by splitmix32 from a number and a name: the same everywhere, one stream for each user. */
export class Dice {
  private a: number;
  private b: number;
  private c: number;
  private d: number;

  constructor(seed: number, name: string) {
    let state = seed >>> 0;
    for (const char of name) state = Math.imul(state ^ char.charCodeAt(0), 0x01000193) >>> 0;
    const word = () => {
      state = (state + 0x9e3779b9) >>> 0;
      let t = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
      t = Math.imul(t ^ (t >>> 13), 0xc2b2ae35);
      return (t ^ (t >>> 16)) >>> 0;
    };
    [this.a, this.b, this.c, this.d] = [word(), word(), word(), word() | 1];
  }

  /** 32 random bits. */
  word(): number {
    const result = Math.imul(rotate(Math.imul(this.b, 5), 7), 9) >>> 0;
    const t = this.b << 9;
    this.c ^= this.a;
    this.d ^= this.b;
    this.b ^= this.c;
    this.a ^= this.d;
    this.c ^= t;
    this.d = rotate(this.d, 11);
    return result;
  }

  /** A whole number in [0, n). */
  below(n: number): number {
    return Math.floor((this.word() / 2 ** 32) * n);
  }

  /** A whole number in [from, to]. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }

  chance(p: number): boolean {
    return this.word() / 2 ** 32 < p;
  }

  pick<T>(items: readonly [T, ...T[]]): T {
    return items[this.below(items.length)] ?? items[0];
  }

  /** One of the items, each as often as its weight says. */
  weighted<T>(items: readonly (readonly [number, T])[]): T {
    let left = this.below(items.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, item] of items) {
      if (left < weight) return item;
      left -= weight;
    }
    throw new Error("nothing to choose from");
  }

  bytes(count: number): Uint8Array<ArrayBuffer> {
    const made = new Uint8Array(count);
    for (let i = 0; i < count; i += 4) {
      const word = this.word();
      for (let j = 0; j < 4 && i + j < count; j++) made[i + j] = (word >>> (8 * j)) & 255;
    }
    return made;
  }
}

const rotate = (x: number, k: number) => (x << k) | (x >>> (32 - k));
