import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { fault, reasonOf } from "../../fault/fault.ts";

/** A line holds one receipt, or the head with its key sets and licenses. */
const LINE_BYTES = 33_554_432;
const CHUNK_BYTES = 262_144;

/**
 * The lines of a file without their ends. Bytes that are not UTF-8 become U+FFFD, which no line of an export holds. Throws
 * CLI_INPUT_UNREADABLE or RECEIPTS_MALFORMED.
 */
export async function* linesOf(path: string): AsyncGenerator<string> {
  const malformed = (why: string) => fault("RECEIPTS_MALFORMED", { path, why });
  const file = await open(path, constants.O_RDONLY).catch((error: unknown) => {
    throw fault("CLI_INPUT_UNREADABLE", { path, why: reasonOf(error) }, error);
  });
  try {
    if (!(await file.stat()).isFile()) throw malformed("it is not a file");
    let rest = Buffer.alloc(0);
    for (let offset = 0; ; ) {
      const chunk = Buffer.alloc(CHUNK_BYTES);
      const { bytesRead } = await file.read(chunk, 0, chunk.length, offset);
      if (bytesRead === 0) break;
      offset += bytesRead;
      rest = Buffer.concat([rest, chunk.subarray(0, bytesRead)]);
      for (let end = rest.indexOf(0x0a); end !== -1; end = rest.indexOf(0x0a)) {
        yield textOf(rest.subarray(0, end));
        rest = rest.subarray(end + 1);
      }
      if (rest.length > LINE_BYTES) throw malformed(`a line is longer than ${LINE_BYTES} bytes`);
    }
    // A last line without its end was cut off: as it stands it is no line an export writes.
    if (rest.length > 0) yield `${textOf(rest)}\u0000`;
  } finally {
    await file.close();
  }
}

const textOf = (bytes: Uint8Array): string => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
