import type { Fingerprint, FingerprintComponent } from "./trust.ts";

/** How much each identity component speaks for "the same machine". The order is that of the fingerprint's id. */
export const FINGERPRINT_WEIGHTS: Readonly<Record<FingerprintComponent, number>> = {
  tpm_ek: 60,
  product_uuid: 30,
  machine_id: 25,
  device_tree_serial: 25,
  board_serial: 12,
  root_disk: 12,
  macs: 10,
  chassis_serial: 6,
  cpu_model: 3,
  virtualisation: 2,
};

/** Below this weight too little is known of a machine to tell it from another: the license says `weak`. */
export const WEAK_BELOW = 37;

/** The weight of everything a fingerprint knows. */
export function enrolledWeight(fingerprint: Fingerprint): number {
  return Object.entries(FINGERPRINT_WEIGHTS)
    .filter(([name]) => Object.hasOwn(fingerprint.components, name))
    .reduce((sum, [, weight]) => sum + weight, 0);
}
