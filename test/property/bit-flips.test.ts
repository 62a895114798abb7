// Goal: a signed text with any one bit changed, wherever, is another text, and is refused as one.
// Method: a right text of every class; each bit of it flipped in turn, as characters and, for what is signed, as the bytes
// they stand for.

import { expect, test } from "bun:test";
import { DOORS, good } from "../conformance/door.ts";
import { makeDoors } from "../conformance/doors.ts";

const { doors } = await makeDoors();

test.each(DOORS.map((name) => [name] as const))(
  "every bit of a %s counts",
  async (name) => {
    const door = doors[name];
    const text = await good(door);
    expect(await door.show(text)).toBe("accepted");
    const taken: string[] = [];
    for (const flipped of [...flips(Buffer.from(text)), ...partFlips(text)]) {
      if ((await door.show(flipped)) === "accepted") taken.push(flipped);
    }
    expect(taken).toEqual([]);
  },
  60_000,
);

/** The text with each bit of its characters flipped in turn. */
function* flips(bytes: Buffer): Generator<string> {
  for (let bit = 0; bit < bytes.length * 8; bit++) yield flipped(bytes, bit).toString("latin1");
}

/** The same for the bytes that its parts stand for: these stay canonical. */
function* partFlips(text: string): Generator<string> {
  const parts = text.split(".").map((part) => Buffer.from(part, "base64url"));
  for (const [index, bytes] of parts.entries()) {
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      yield parts
        .map((part, at) => (at === index ? flipped(bytes, bit) : part).toString("base64url"))
        .join(".");
    }
  }
}

function flipped(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return copy;
}
