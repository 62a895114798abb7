// Goal: ids are unguessable, evenly spread, of one form, and never of another's kind.
// Method: make many, count letters, cross every id with every schema, and write known digests.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import * as ids from "../../../src/protocol/ids.ts";

const random: ids.RandomBytes = (count) => crypto.getRandomValues(new Uint8Array(count));
const KINDS = [
  ["agt", ids.newAgentId, ids.AgentIdSchema],
  ["job", ids.newJobId, ids.JobIdSchema],
  ["lic", ids.newLicenseId, ids.LicenseIdSchema],
  ["acc", ids.newAccountId, ids.AccountIdSchema],
  ["cp", ids.newControlPlaneId, ids.ControlPlaneIdSchema],
] as const;

describe("ids", () => {
  test.each(KINDS)("%s_… are made in their form and taken by their own schema alone", (prefix, make) => {
    const made = make(random);
    expect(made).toMatch(new RegExp(`^${prefix}_[0-9A-Za-z]{20}$`));
    const takers = KINDS.filter(([, , schema]) => v.is(schema, made)).map(([name]) => name);
    expect(takers).toEqual([prefix]);
  });

  test.each([
    ["too short", "job_123"],
    ["too long", `job_${"a".repeat(21)}`],
    ["with a newline at its end", `job_${"a".repeat(20)}\n`],
    ["with a path in it", "job_../../../../etc/pas1"],
    ["with letters outside ASCII", `job_${"é".repeat(20)}`],
    ["in capital letters", `JOB_${"a".repeat(20)}`],
    ["a number", 1],
    ["an object that prints as one", { toString: () => `job_${"a".repeat(20)}` }],
  ])("%s are refused", (_, value) => {
    expect(v.is(ids.JobIdSchema, value)).toBe(false);
  });
});

test("a digest is 64 digits of lower-case hex", () => {
  expect(v.is(ids.Sha256Schema, "a".repeat(64))).toBe(true);
  for (const wrong of ["A".repeat(64), "a".repeat(63), `${"a".repeat(64)}\n`, "g".repeat(64)]) {
    expect(v.is(ids.Sha256Schema, wrong)).toBe(false);
  }
});

describe("base62", () => {
  test("uses every letter about equally often", () => {
    const text = ids.base62(random(ids.base62Bytes(62_000)), 62_000);
    const counts = new Map<string, number>();
    for (const letter of text) counts.set(letter, (counts.get(letter) ?? 0) + 1);
    expect(counts.size).toBe(62);
    // 1,000 expected; eight standard deviations either way.
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(256);
  });

  test("of a digest loses nothing and keeps order", () => {
    expect(ids.base62Digest(new Uint8Array(32), 43)).toBe("0".repeat(43));
    expect(ids.base62Digest(new Uint8Array([61]), 2)).toBe("0z");
    expect(ids.base62Digest(new Uint8Array([62]), 2)).toBe("10");
    const digest = fc.uint8Array({ minLength: 32, maxLength: 32 });
    fc.assert(
      fc.property(digest, digest, (a, b) => {
        const [x, y] = [ids.base62Digest(a, 43), ids.base62Digest(b, 43)];
        expect(x).toMatch(/^[0-9A-Za-z]{43}$/);
        expect(Math.sign(Buffer.compare(a, b))).toBe(x === y ? 0 : x < y ? -1 : 1);
      }),
    );
  });
});
