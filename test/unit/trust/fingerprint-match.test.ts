// Goal: a machine is itself after what happens to machines, another machine is not, and what could not be read decides
// nothing.
// Method: a table of what happens to real hosts; random fingerprints against the rules every score must keep.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { makeFingerprint, type RawIdentity } from "../../../src/host/fingerprint.ts";
import { FINGERPRINT_WEIGHTS } from "../../../src/protocol/fingerprint-weights.ts";
import {
  FINGERPRINT_COMPONENTS,
  type Fingerprint,
  type FingerprintComponent,
} from "../../../src/protocol/trust.ts";
import {
  compareFingerprints,
  differenceOf,
  type FingerprintMatch,
} from "../../../src/trust/fingerprint-match.ts";

const print = (raw: RawIdentity): Fingerprint => makeFingerprint(raw, "s".repeat(22));

/** Metal with everything that can be known, without a TPM. */
const SERVER = {
  product_uuid: "4c4c4544-0042-3510-8056-b4c04f515332",
  machine_id: "0123456789abcdef0123456789abcdef",
  board_serial: ".5BQS532.CNFCP0012345.",
  root_disk: "S4EVNX0R123456",
  macs: ["b8:2a:72:d1:22:33", "b8:2a:72:d1:22:34"],
  chassis_serial: "5BQS532",
  cpu_model: "Intel(R) Xeon(R) Gold 6230",
  virtualisation: "hardware",
} satisfies RawIdentity;
const WITH_TPM = { ...SERVER, tpm_ek: "ab12" } satisfies RawIdentity;
const VM = {
  product_uuid: "ec2a1b2c-7777-4000-8000-000000000001",
  machine_id: "aaaa456789abcdef0123456789abcdef",
  cpu_model: "AMD EPYC",
  virtualisation: "virtual machine QEMU",
} satisfies RawIdentity;
const CONTAINER = {
  machine_id: "cccc456789abcdef0123456789abcdef",
  cpu_model: "AMD EPYC",
  virtualisation: "container",
} satisfies RawIdentity;
const PI = {
  device_tree_serial: "10000000abcdef01",
  machine_id: "dddd456789abcdef0123456789abcdef",
  root_disk: "0x3c2f7c1d",
  macs: ["dc:a6:32:01:02:03"],
  cpu_model: "Raspberry Pi 4",
  virtualisation: "hardware",
} satisfies RawIdentity;

function without<Raw extends RawIdentity>(raw: Raw, ...names: (keyof Raw)[]): RawIdentity {
  return Object.fromEntries(Object.entries(raw).filter(([name]) => !names.includes(name as keyof Raw)));
}

type Row = readonly [
  what: string,
  before: RawIdentity,
  now: RawIdentity,
  expected: Partial<FingerprintMatch>,
  unknown?: readonly FingerprintComponent[],
];

const SERIALS = ["product_uuid", "board_serial", "chassis_serial"] as const;
const NEW_MACHINE_ID = "ffff456789abcdef0123456789abcdef";

const TABLE: readonly Row[] = [
  ["nothing happened", SERVER, SERVER, { verdict: "match", score: 1 }],
  ["memory was added, which nobody looks at", SERVER, { ...SERVER }, { verdict: "match", score: 1 }],
  [
    "the root disk was replaced and the system moved over",
    SERVER,
    { ...SERVER, root_disk: "NEW" },
    { verdict: "match", score: 0.88, changed: ["root_disk"] },
  ],
  [
    "the root disk was replaced and the system installed anew",
    SERVER,
    { ...SERVER, root_disk: "NEW", machine_id: NEW_MACHINE_ID },
    { verdict: "drift", score: 0.63, rule: null },
  ],
  [
    "one of two network cards was replaced",
    SERVER,
    { ...SERVER, macs: ["b8:2a:72:d1:22:33", "b8:2a:72:d1:22:99"] },
    { verdict: "match", score: 0.9333, changed: ["macs"] },
  ],
  [
    "all network cards were replaced",
    SERVER,
    { ...SERVER, macs: ["b8:2a:72:d1:22:98"] },
    { verdict: "match", score: 0.9 },
  ],
  [
    "a network card was added",
    SERVER,
    { ...SERVER, macs: [...SERVER.macs, "b8:2a:72:d1:22:99"] },
    { verdict: "match", score: 0.9667 },
  ],
  [
    "the machine id was made anew",
    SERVER,
    { ...SERVER, machine_id: NEW_MACHINE_ID },
    { verdict: "match", score: 0.75, changed: ["machine_id"], rule: null },
  ],
  [
    "the processor was replaced",
    SERVER,
    { ...SERVER, cpu_model: "Intel(R) Xeon(R) 6248" },
    { verdict: "match" },
  ],
  [
    "the board was replaced: its UUID is another under the same machine id, as in a clone",
    SERVER,
    { ...SERVER, product_uuid: "4c4c4544-0042-3510-8056-b4c04f5153ff", board_serial: "NEW" },
    { verdict: "mismatch", rule: "vm_clone" },
  ],
  [
    "serials may not be read today",
    SERVER,
    without(SERVER, ...SERIALS),
    { verdict: "match", score: 1, lost: [], changed: [] },
    SERIALS,
  ],
  [
    "the kernel shows no DMI any more",
    SERVER,
    without(SERVER, ...SERIALS),
    { verdict: "drift", score: 0.52, lost: [...SERIALS], rule: null },
  ],
  ["the TPM was switched off", WITH_TPM, SERVER, { verdict: "drift", score: 0.625, lost: ["tpm_ek"] }],
  ["the TPM cannot be asked today", WITH_TPM, SERVER, { verdict: "match", score: 1 }, ["tpm_ek"]],
  [
    "the TPM is another, and all else is alike",
    WITH_TPM,
    { ...WITH_TPM, tpm_ek: "cd34" },
    { verdict: "mismatch", rule: "tpm_changed", score: 0.625 },
  ],
  [
    "root has begun to leave its facts",
    without(SERVER, ...SERIALS),
    WITH_TPM,
    { verdict: "match", score: 1, enriched: ["tpm_ek", "product_uuid", "board_serial", "chassis_serial"] },
  ],
  [
    "the disk was put into another server of the same make",
    SERVER,
    {
      ...SERVER,
      product_uuid: "other",
      board_serial: "other",
      macs: ["b8:2a:72:d1:ff:ff"],
      chassis_serial: "o",
    },
    { verdict: "mismatch", rule: "vm_clone" },
  ],
  [
    "another server altogether",
    SERVER,
    {
      ...SERVER,
      product_uuid: "other",
      machine_id: NEW_MACHINE_ID,
      board_serial: "other",
      root_disk: "other",
      macs: ["b8:2a:72:d1:ff:ff"],
      chassis_serial: "other",
    },
    { verdict: "mismatch", rule: null, score: 0.05 },
  ],
  [
    "a virtual machine was cloned",
    VM,
    { ...VM, product_uuid: "ec2a1b2c-7777-4000-8000-000000000002" },
    { verdict: "mismatch", rule: "vm_clone", changed: ["product_uuid"] },
  ],
  [
    "a virtual machine was cloned, and its UUID cannot be read there",
    VM,
    without(VM, "product_uuid"),
    { verdict: "match", score: 1 },
    ["product_uuid"],
  ],
  [
    "a virtual machine was cloned and prepared as a new one",
    VM,
    { ...VM, product_uuid: "other", machine_id: NEW_MACHINE_ID },
    { verdict: "mismatch", rule: null, score: 0.0833 },
  ],
  [
    "a virtual machine moved to another host model",
    VM,
    { ...VM, cpu_model: "Intel(R) Xeon(R)" },
    { verdict: "match", score: 0.95 },
  ],
  ["a container was restarted", CONTAINER, CONTAINER, { verdict: "match", score: 1 }],
  [
    "a container was made anew on the same host",
    CONTAINER,
    { ...CONTAINER, machine_id: NEW_MACHINE_ID },
    { verdict: "mismatch", score: 0.1667, changed: ["machine_id"] },
  ],
  [
    "a small board got another card to boot from",
    PI,
    { ...PI, root_disk: "0xffff" },
    { verdict: "match", score: 0.8442 },
  ],
  [
    "a small board's card was put into another",
    PI,
    { ...PI, device_tree_serial: "10000000ffffffff", macs: ["dc:a6:32:ff:ff:ff"] },
    { verdict: "drift", score: 0.5455 },
  ],
  ["nothing was known at enrolment", {}, SERVER, { verdict: "match", score: 1, changed: [], lost: [] }],
  ["nothing can be read now", SERVER, {}, { verdict: "match", score: 1 }, FINGERPRINT_COMPONENTS],
  ["nothing is there now", SERVER, {}, { verdict: "mismatch", score: 0 }],
];

test.each(TABLE.map((row) => [...row] as const))("%s", (_, before, now, expected, unknown = []) => {
  expect(compareFingerprints(print(before), print(now), unknown)).toMatchObject(expected);
});

const value = fc.constantFrom("v1", "v2", "v3");
const mac = fc.constantFrom(..."123456").map((digit) => `b8:2a:72:d1:22:3${digit}`);
const scalar = fc.option(value, { nil: undefined });
const raw = fc
  .record({
    ...(Object.fromEntries(
      FINGERPRINT_COMPONENTS.filter((name) => name !== "macs").map((name) => [name, scalar]),
    ) as Record<Exclude<FingerprintComponent, "macs">, typeof scalar>),
    macs: fc.option(fc.array(mac, { maxLength: 4 }), { nil: undefined }),
  })
  .map(
    (made) =>
      Object.fromEntries(Object.entries(made).filter(([, part]) => part !== undefined)) as RawIdentity,
  );
const fingerprint = raw.map(print);
const names = fc.subarray([...FINGERPRINT_COMPONENTS]);

function dropped(from: Fingerprint, name: FingerprintComponent): Fingerprint {
  const { [name]: _, ...components } = from.components;
  return { ...from, components };
}

describe("any comparison", () => {
  test("scores within 0 and 1, sorts every component into one place, and is decided by rule, then score", () => {
    fc.assert(
      fc.property(fingerprint, fingerprint, names, (before, now, unknown) => {
        const match = compareFingerprints(before, now, unknown);
        const { score, rule, verdict, changed, lost, enriched } = match;
        expect(score >= 0 && score <= 1).toBe(true);
        expect(new Set([...changed, ...lost, ...enriched]).size).toBe(
          changed.length + lost.length + enriched.length,
        );
        for (const name of unknown) expect(lost).not.toContain(name);
        const byScore = score >= 0.7 ? "match" : score >= 0.45 ? "drift" : "mismatch";
        expect(verdict).toBe(rule === null ? byScore : "mismatch");
        expect(differenceOf(match)).toMatch(/^[\x20-\x7e]+$/);
      }),
    );
  });

  test("of a machine with itself is a whole match", () => {
    fc.assert(
      fc.property(fingerprint, names, (print, unknown) => {
        const same = { verdict: "match", score: 1, rule: null, changed: [], lost: [], enriched: [] } as const;
        expect(compareFingerprints(print, print, unknown)).toEqual(same);
      }),
    );
  });

  test("is worse or the same when something is gone, and never asks what was not enrolled", () => {
    fc.assert(
      fc.property(
        fingerprint,
        fingerprint,
        fc.constantFrom(...FINGERPRINT_COMPONENTS),
        (before, now, name) => {
          const whole = compareFingerprints(before, now, []).score;
          expect(compareFingerprints(before, dropped(now, name), []).score).toBeLessThanOrEqual(whole);
          const poorer = dropped(before, name);
          expect(compareFingerprints(poorer, now, []).score).toBe(
            compareFingerprints(poorer, dropped(now, name), []).score,
          );
        },
      ),
    );
  });

  test("judges what cannot be read as if it had never been enrolled", () => {
    fc.assert(
      fc.property(
        fingerprint,
        fingerprint,
        fc.constantFrom(...FINGERPRINT_COMPONENTS),
        (before, now, name) => {
          const unread = compareFingerprints(before, dropped(now, name), [name]);
          expect(unread).toEqual(compareFingerprints(dropped(before, name), dropped(now, name), []));
        },
      ),
    );
  });

  test("names the same changes from either side, and what one lost the other gained", () => {
    fc.assert(
      fc.property(fingerprint, fingerprint, (one, two) => {
        const [there, back] = [compareFingerprints(one, two, []), compareFingerprints(two, one, [])];
        expect(there.changed).toEqual(back.changed);
        expect([there.lost, there.enriched]).toEqual([back.enriched, back.lost]);
        expect(there.rule).toBe(back.rule);
        if (there.lost.length + there.enriched.length === 0) expect(there.score).toBe(back.score);
      }),
    );
  });

  test("agrees with a naive sum", () => {
    fc.assert(
      fc.property(fingerprint, fingerprint, (before, now) => {
        let [all, same] = [0, 0];
        for (const [name, enrolled] of Object.entries(before.components)) {
          const weight = FINGERPRINT_WEIGHTS[name as FingerprintComponent];
          const found = now.components[name as FingerprintComponent];
          all += weight;
          if (Array.isArray(enrolled) && Array.isArray(found)) {
            const shared = enrolled.filter((one) => found.includes(one)).length;
            same += (weight * shared) / (enrolled.length + found.length - shared);
          } else if (enrolled === found) same += weight;
        }
        expect(compareFingerprints(before, now, []).score).toBeCloseTo(all === 0 ? 1 : same / all, 3);
      }),
    );
  });
});
