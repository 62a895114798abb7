import type { CompiledScrub } from "./compiled-scrub.ts";
import { Findings } from "./track.ts";
import type { Watch } from "./trip-wire.ts";
import type { Stretch, View } from "./views.ts";

/** Read in one go before looking whether there is reason to go on; more than a trip wire's reach. */
const BLOCK = 64;
/** What began in the last bytes of one part shows within the first few of the next. */
const HEAD = 4;
/** The trip wire needs so many bytes to see anything. */
const SIGHT = 4;

const NOTHING = new Uint8Array();

/**
 * One text on its way out. What `push` and `end` answer, put together, is the text without secrets, however it was cut;
 * what may yet turn out to be the beginning of one is held back, and no more. Time is linear in the text.
 */
export class ScrubStream {
  private readonly scrub: CompiledScrub | null;
  private readonly findings = new Findings();
  private readonly views: readonly View[];
  /** Not yet given out: the text from `base` on. */
  private held: Uint8Array = NOTHING;
  private base = 0;
  /** Read up to here. */
  private at = 0;
  /** A mark stands for the text up to here. */
  private marked = 0;

  /** `null` lets everything through. */
  constructor(scrub: CompiledScrub | null) {
    this.scrub = scrub;
    this.views = scrub?.views(this.findings) ?? [];
  }

  /** Keeps nothing of `chunk`; what is answered may be a part of it. */
  push(chunk: Uint8Array): Uint8Array {
    if (this.scrub === null || chunk.length === 0) return chunk;
    const bytes = this.held.length === 0 ? chunk : Buffer.concat([this.held, chunk]);
    return this.take({ bytes, base: this.base, last: false }, this.scrub);
  }

  /** The rest. Afterwards a text of its own may begin. */
  end(): Uint8Array {
    if (this.scrub === null) return NOTHING;
    const rest = this.take({ bytes: this.held, base: this.base, last: true }, this.scrub);
    for (const view of this.views) view.restart(this.base);
    return rest;
  }

  private take(stretch: Stretch, scrub: CompiledScrub): Uint8Array {
    this.read(stretch, scrub);
    const end = stretch.base + stretch.bytes.length;
    const open = stretch.last ? end : Math.min(end, this.openFrom());
    const safe = Math.max(open, stretch.base); // half a digit given out already is no use to anyone
    const out = this.give(stretch, safe, scrub);
    this.held = stretch.bytes.slice(safe - stretch.base);
    this.base = safe;
    return out;
  }

  private read(stretch: Stretch, scrub: CompiledScrub): void {
    const end = stretch.base + stretch.bytes.length;
    const watch = scrub.wire.over(stretch.bytes);
    let until = Math.min(end, this.at + HEAD);
    for (;;) {
      for (const view of this.views) view.run(stretch, until);
      this.at = until;
      if (until === end) return;
      until = Math.min(end, this.nextPlace(stretch.base, watch, scrub.wire.reach) + BLOCK);
    }
  }

  /** Leaps to where reading on is worth while. */
  private nextPlace(base: number, watch: Watch, reach: number): number {
    const { at } = this;
    const open = this.openFrom();
    // What has begun and is a secret trips the wire not far from its beginning, and is then read on without a leap.
    const trip = base + watch.next(Math.max(0, Math.min(open, at - HEAD) - base));
    const from = trip - reach - SIGHT;
    if (from <= at) return at;
    for (const view of this.views) view.restart(from);
    return from;
  }

  private openFrom(): number {
    let first = Number.POSITIVE_INFINITY;
    for (const view of this.views) first = Math.min(first, view.openFrom);
    return first;
  }

  /** The text from `base` up to `safe`, with a mark for each run of findings that touch. */
  private give({ bytes, base }: Stretch, safe: number, { marks }: CompiledScrub): Uint8Array {
    const parts: Uint8Array[] = [];
    let from = Math.max(base, this.marked);
    const give = (until: number) => {
      if (until > from) parts.push(bytes.subarray(from - base, until - base));
    };
    for (const { start, end, pattern } of this.findings.takeBefore(safe)) {
      give(start);
      if (start >= this.marked) parts.push(marks[pattern] ?? NOTHING);
      this.marked = Math.max(this.marked, end);
      from = Math.max(from, this.marked);
    }
    give(safe);
    const [only = NOTHING] = parts;
    return parts.length <= 1 ? only : Buffer.concat(parts);
  }
}
