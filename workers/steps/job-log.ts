import { closeSync, constants, fsyncSync, openSync, writeSync } from "node:fs";
import { reasonOf } from "../../src/fault/fault.ts";
import type { JobReport } from "../../src/protocol/execution.ts";
import type { ScrubStream } from "../scrub/scrub-stream.ts";
import type { Scrubber } from "../scrub/scrubber.ts";
import { displayEnd } from "./display.ts";

const TAIL_BYTES = 4_096;
const TAIL_CHARS = 8_192;

/**
 * The log of one job: what its processes wrote in order of arrival, byte for byte but for the job's secrets, under headings
 * of ours (`==> …`). The job's share is cut at `outputBytesMax`. Written without buffering, since the agent follows the
 * file as it grows; only what may be the beginning of a secret waits. Digest, size and tail are of what is in the file.
 */
export class JobLog {
  private readonly fd: number;
  private readonly hash = new Bun.CryptoHasher("sha256");
  private room: number;
  private size = 0;
  private readonly scrubber: Scrubber;
  private readonly scrub: ScrubStream;
  private atLineStart = true;
  private tailBytes: Uint8Array = new Uint8Array();
  /** Why the log could not be written on, for example a full disk. From then on it takes nothing. */
  problem: string | null = null;

  /** Creates the file, 0600; throws the error of node:fs when it exists already or cannot be made. */
  constructor(path: string, outputBytesMax: number, scrubber: Scrubber) {
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    this.fd = openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    this.room = outputBytesMax;
    this.scrubber = scrubber;
    this.scrub = scrubber.stream();
  }

  /** A heading on a line of its own. */
  heading(text: string): void {
    this.settle();
    const line = this.scrubber.text(text);
    this.write(Buffer.from(`${this.atLineStart ? "" : "\n"}==> ${line}\n`));
  }

  /** Takes output of the job; false when the limit is reached or the file cannot be written. */
  output(chunk: Uint8Array): boolean {
    const clean = this.scrub.push(chunk);
    const part = clean.subarray(0, this.room);
    this.room -= part.length;
    this.write(part);
    return this.problem === null && part.length === clean.length;
  }

  /** The end of the log, for reading; control characters escaped. */
  tail(): string {
    return displayEnd(this.tailBytes, TAIL_CHARS);
  }

  /** Makes the file durable and says what is in it. */
  close(): JobReport["log"] {
    this.settle();
    try {
      fsyncSync(this.fd);
    } catch (error) {
      this.problem ??= reasonOf(error); // the digest stands for what was written; a lost tail shows against it
    }
    closeSync(this.fd);
    return { sha256: this.hash.digest("hex") as JobReport["log"]["sha256"], size: this.size };
  }

  /** What was held back: nothing follows it that could make a secret of it. */
  private settle(): void {
    const rest = this.scrub.end();
    const part = rest.subarray(0, this.room);
    this.room -= part.length;
    this.write(part);
  }

  private write(bytes: Uint8Array): void {
    let done = 0;
    try {
      while (done < bytes.length && this.problem === null) {
        const count = writeSync(this.fd, bytes, done, bytes.length - done);
        this.hash.update(bytes.subarray(done, done + count));
        done += count;
      }
    } catch (error) {
      this.problem = reasonOf(error); // ENOSPC, EDQUOT, EIO: the job ends for it
    }
    this.size += done;
    this.remember(bytes.subarray(0, done));
  }

  private remember(written: Uint8Array): void {
    if (written.length === 0) return;
    this.atLineStart = written.at(-1) === 0x0a;
    const last = written.subarray(-TAIL_BYTES);
    const kept = this.tailBytes.subarray(Math.max(0, this.tailBytes.length + last.length - TAIL_BYTES));
    this.tailBytes = Buffer.concat([kept, last]);
  }
}

/** What stands in a report when there is no log at all. */
export const emptyLog = (): JobReport["log"] => ({
  sha256: new Bun.CryptoHasher("sha256").digest("hex") as JobReport["log"]["sha256"],
  size: 0,
});
