import { fingerprintOf } from "../../protocol/fingerprint-id.ts";
import type { Fingerprint, FingerprintComponent } from "../../protocol/trust.ts";

/** The enrolled fingerprint with components the same machine shows now and did not then. Pure. */
export function enrich(
  enrolled: Fingerprint,
  shown: Fingerprint,
  enriched: readonly FingerprintComponent[],
): Fingerprint {
  const taken = Object.fromEntries(enriched.map((name) => [name, shown.components[name]]));
  return fingerprintOf({ ...enrolled.components, ...taken });
}
