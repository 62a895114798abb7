// Goal: a job is refused before its inputs would take the room that journal, receipts and logs need.
// Method: the decision by itself, at its borders; a file system that cannot be asked decides nothing.

import { expect, test } from "bun:test";
import { diskProblem } from "../../../src/agent/disk-room.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";

const blob = (size: number) => ({ name: "in", sha256: "0".repeat(64) as never, size });
const on = (available: number, blobs = [blob(1000), blob(24)]) =>
  diskProblem("/state", { total: 1e12, available }, { blobs })?.code ?? null;

test("the reserve and the inputs must fit, to the byte", () => {
  expect(on(LIMITS.DISK_RESERVE_BYTES + 1024)).toBeNull();
  expect(on(LIMITS.DISK_RESERVE_BYTES + 1023)).toBe("HOST_DISK_LOW");
  expect(on(LIMITS.DISK_RESERVE_BYTES, [])).toBeNull();
  expect(on(0, [])).toBe("HOST_DISK_LOW");
});

test("a file system that does not tell is left to whoever writes there", () => {
  expect(diskProblem("/state", { total: 0, available: 0 }, {})).toBeNull();
});
