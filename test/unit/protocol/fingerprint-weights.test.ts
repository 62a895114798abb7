// Goal: what is known of a machine weighs what the table says, and nothing else weighs anything.
// Method: fingerprints with chosen components.

import { expect, test } from "bun:test";
import {
  enrolledWeight,
  FINGERPRINT_WEIGHTS,
  WEAK_BELOW,
} from "../../../src/protocol/fingerprint-weights.ts";
import type { Fingerprint } from "../../../src/protocol/trust.ts";

const of = (components: Fingerprint["components"]): Fingerprint => ({
  v: 1,
  components,
  id: `fp_${"x".repeat(32)}`,
});
const D = "d".repeat(22);

test("weights add up; a machine-id alone is weak, with a disk it is not", () => {
  expect(enrolledWeight(of({}))).toBe(0);
  expect(enrolledWeight(of({ machine_id: D }))).toBe(25);
  expect(enrolledWeight(of({ machine_id: D }))).toBeLessThan(WEAK_BELOW);
  expect(enrolledWeight(of({ machine_id: D, root_disk: D }))).toBe(37);
  expect(enrolledWeight(of({ machine_id: D, root_disk: D }))).not.toBeLessThan(WEAK_BELOW);
  const everything = Object.fromEntries(Object.keys(FINGERPRINT_WEIGHTS).map((name) => [name, D]));
  expect(enrolledWeight(of(everything))).toBe(185);
});
