// Goal: a fingerprint tells machines apart and tells nothing about them; what firmware makes up does not count.
// Method: known raw values, junk from real boards, random records; the schema of the wire judges each result.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import { isGlobalMac, makeFingerprint, meaningful, type RawIdentity } from "../../../src/host/fingerprint.ts";
import { FingerprintSchema } from "../../../src/protocol/trust.ts";

const SALT = "A".repeat(43);
const RAW: RawIdentity = {
  product_uuid: "4C4C4544-0042-3510-8056-B4C04F515332",
  machine_id: "0123456789abcdef0123456789abcdef",
  macs: ["b8:2a:72:d1:22:33", "b8:2a:72:d1:22:44"],
  cpu_model: "Intel(R) Xeon(R)",
};

describe("a fingerprint", () => {
  test("fits the wire and holds nothing of what it is made from", () => {
    const made = makeFingerprint(RAW, SALT);
    expect(v.is(FingerprintSchema, made)).toBe(true);
    expect(Object.keys(made.components)).toEqual(["product_uuid", "machine_id", "macs", "cpu_model"]);
    const text = JSON.stringify(made).toLowerCase();
    for (const secret of ["4c4c4544", "0123456789abcdef", "b8:2a", "xeon"])
      expect(text).not.toContain(secret);
  });

  test("is the same however the values are spelt and ordered", () => {
    const other: RawIdentity = {
      cpu_model: "intel(r) xeon(r) ",
      macs: ["B8:2A:72:D1:22:44", "b8:2a:72:d1:22:33", "b8:2a:72:d1:22:33"],
      machine_id: "0123456789ABCDEF0123456789ABCDEF\n",
      product_uuid: "4c4c4544-0042-3510-8056-b4c04f515332\0",
    };
    expect(makeFingerprint(other, SALT)).toEqual(makeFingerprint(RAW, SALT));
  });

  test("is another under another salt, in every component", () => {
    const [here, there] = [makeFingerprint(RAW, SALT), makeFingerprint(RAW, "B".repeat(43))];
    expect(here.id).not.toBe(there.id);
    const all = (print: typeof here) => Object.values(print.components).flat();
    expect(all(here).filter((digest) => all(there).includes(digest))).toEqual([]);
  });

  test("never has two components alike because their values are", () => {
    const { components } = makeFingerprint(
      { board_serial: "X1", chassis_serial: "X1", root_disk: "X1" },
      SALT,
    );
    expect(new Set(Object.values(components)).size).toBe(3);
  });

  test("changes its id with any value, and only with that component", () => {
    const word = fc.string({ unit: fc.constantFrom(..."ghijk123"), minLength: 3, maxLength: 8 });
    fc.assert(
      fc.property(word, word, (a, b) => {
        const [one, two] = [a, b].map((root_disk) => makeFingerprint({ ...RAW, root_disk }, SALT));
        expect(one?.id === two?.id).toBe(a === b || (meaningful(a) === null && meaningful(b) === null));
        expect(one?.components.machine_id).toBe(two?.components.machine_id ?? "");
      }),
    );
  });

  test("of whatever a machine says fits the wire", () => {
    const text = fc.option(fc.string({ unit: "binary", maxLength: 40 }), { nil: undefined });
    const macs = fc.option(fc.array(fc.string(), { maxLength: 100 }), { nil: undefined });
    fc.assert(
      fc.property(text, text, macs, (machine_id, root_disk, found) => {
        const raw = Object.fromEntries(
          Object.entries({ machine_id, root_disk, macs: found }).filter(([, value]) => value !== undefined),
        );
        expect(v.is(FingerprintSchema, makeFingerprint(raw, SALT))).toBe(true);
      }),
    );
  });

  test("of a machine with a hundred cards keeps 64, always the same", () => {
    const macs = Array.from({ length: 100 }, (_, i) => `b8:2a:72:d1:22:${i.toString(16).padStart(2, "0")}`);
    const made = makeFingerprint({ macs }, SALT);
    expect(made.components.macs).toHaveLength(64);
    expect(makeFingerprint({ macs: macs.toReversed() }, SALT)).toEqual(made);
    expect(v.is(FingerprintSchema, made)).toBe(true);
  });
});

test.each([
  "",
  "  \n",
  "0",
  "00000000-0000-0000-0000-000000000000",
  "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
  "03000200-0400-0500-0006-000700080009",
  "None",
  "Not Specified",
  "Not Applicable",
  "N/A",
  "To Be Filled By O.E.M.",
  "To be filled by O.E.M.",
  "Default string",
  "System Serial Number",
  "Base Board Serial Number",
  "Chassis Serial Number",
  "SerialNumber",
  "123456789",
  "0123456789",
  "uninitialized",
  "xxxxxxxx",
  "\0",
])("%p says nothing about a machine", (junk) => {
  expect(meaningful(junk)).toBeNull();
  expect(makeFingerprint({ product_uuid: junk, board_serial: junk }, SALT).components).toEqual({});
});

test.each([
  "5BQS532",
  "VMware-56 4d",
  "ec2a1b2c-0000-4000-8000-000000000000",
  "0000000000000001",
  "none-such",
])("%p does", (value) => {
  expect(meaningful(value)).not.toBeNull();
});

test.each([
  ["b8:2a:72:d1:22:33", true],
  ["B8:2A:72:D1:22:33", true],
  ["02:42:ac:11:00:02", false],
  ["33:33:00:00:00:01", false],
  ["ff:ff:ff:ff:ff:ff", false],
  ["00:00:00:00:00:00", false],
  ["b8:2a:72:d1:22", false],
  ["", false],
  ["b8-2a-72-d1-22-33", false],
])("%p as the maker's own address: %p", (mac, global) => {
  expect(isGlobalMac(mac)).toBe(global);
});
