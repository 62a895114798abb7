import { type CompiledScrub, compileScrub } from "./compiled-scrub.ts";
import { ScrubStream } from "./scrub-stream.ts";
import { secretPatterns } from "./secret-patterns.ts";

/**
 * Takes a job's secrets out of whatever it says: every value, and every longer line of one, as it is and as base64 (any
 * offset, either alphabet, wrapped), hexadecimal, percent-encoded, backslash-escaped (JSON, shells, C), quoted for a shell
 * and as XML writes it. In its place stands `[secret NAME]`. Other text is left as it is, byte for byte.
 *
 * A safety net and no more: a program that has a secret can write it in ways nobody foresees.
 */
export class Scrubber {
  private readonly compiled: CompiledScrub | null;

  /** Values by name; a value is never logged, and never part of an error. */
  constructor(secrets: Readonly<Record<string, string>>) {
    const patterns = secretPatterns(secrets);
    this.compiled = patterns.length === 0 ? null : compileScrub(patterns);
  }

  /** Begins a text that arrives in parts. */
  stream(): ScrubStream {
    return new ScrubStream(this.compiled);
  }

  bytes(whole: Uint8Array): Uint8Array {
    if (this.compiled === null) return whole;
    const stream = this.stream();
    return Buffer.concat([stream.push(whole), stream.end()]);
  }

  text(whole: string): string {
    if (this.compiled === null) return whole;
    const bytes = Buffer.from(whole);
    const scrubbed = Buffer.from(this.bytes(bytes));
    return scrubbed.equals(bytes) ? whole : scrubbed.toString();
  }

  /** What an artifact is read through on its way out. */
  async *through(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const stream = this.stream();
    for await (const chunk of source) yield stream.push(chunk);
    yield stream.end();
  }
}
