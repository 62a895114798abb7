/*
 * POSIX ustar (IEEE Std 1003.1, pax), regular files only, as any tar(1) reads it. Sizes beyond 8 GiB stand in the binary
 * form GNU and BSD tar share.
 */

export const BLOCK_BYTES = 512;
const OCTAL_SIZE_MAX = 8 ** 11 - 1;
const NAME_BYTES = 100;

export interface TarEntry {
  /** Relative path, ASCII, at most 100 characters. */
  readonly path: string;
  readonly size: number;
}

/** The header block of a private file. */
export function tarHeader({ path, size }: TarEntry, mtimeS: number): Uint8Array {
  const block = Buffer.alloc(BLOCK_BYTES);
  if (Buffer.byteLength(path) > NAME_BYTES) throw new Error(`"${path}" is too long for a tar header`);
  block.write(path, 0, "ascii");
  block.write("0000600\0", 100);
  block.write("0000000\0", 108);
  block.write("0000000\0", 116);
  writeSize(block, size);
  block.write(`${mtimeS.toString(8).padStart(11, "0")}\0`, 136);
  block.write("        ", 148);
  block.write("0", 156);
  block.write("ustar\u000000", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

/** Zeros that fill the last block of a file of this size. */
export const tarPadding = (size: number): Uint8Array =>
  new Uint8Array((BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES);

/** The end of an archive. */
export const tarEnd = (): Uint8Array => new Uint8Array(2 * BLOCK_BYTES);

/** Reads a header block; null for a block of zeros, the end. A string says what is wrong. */
export function readTarHeader(block: Uint8Array): TarEntry | null | string {
  const bytes = Buffer.from(block);
  if (bytes.every((byte) => byte === 0)) return null;
  const told = Number.parseInt(text(bytes, 148, 8).trim(), 8);
  const blank = Buffer.from(bytes).fill(0x20, 148, 156);
  if (told !== blank.reduce((total, byte) => total + byte, 0)) return "a header's checksum is wrong";
  if (text(bytes, 257, 6) !== "ustar") return "it is not a ustar archive";
  const kind = String.fromCharCode(bytes[156] ?? 0);
  const path = text(bytes, 0, NAME_BYTES);
  if ((kind !== "0" && kind !== "\0") || text(bytes, 345, 155) !== "") return `"${path}" is not a plain file`;
  const size = readSize(bytes);
  return Number.isSafeInteger(size) && size >= 0 ? { path, size } : `the size of "${path}" is not a number`;
}

function writeSize(block: Buffer, size: number): void {
  if (size <= OCTAL_SIZE_MAX) {
    block.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
    return;
  }
  block[124] = 0x80;
  block.writeBigUInt64BE(BigInt(size), 128);
}

function readSize(block: Buffer): number {
  if (block[124] !== 0x80) {
    const octal = text(block, 124, 12).trim();
    return /^[0-7]+$/.test(octal) ? Number.parseInt(octal, 8) : Number.NaN;
  }
  return Number(block.readBigUInt64BE(128));
}

function text(block: Buffer, offset: number, length: number): string {
  const field = block.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return field.toString("ascii", 0, end === -1 ? length : end);
}
