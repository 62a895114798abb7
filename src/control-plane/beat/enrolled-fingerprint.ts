import { createHash } from "node:crypto";
import { FINGERPRINT_WEIGHTS } from "../../protocol/fingerprint-weights.ts";
import type { Fingerprint, FingerprintComponent } from "../../protocol/trust.ts";

/** The enrolled fingerprint with components the same machine shows now and did not then. Pure. */
export function enrich(
  enrolled: Fingerprint,
  shown: Fingerprint,
  enriched: readonly FingerprintComponent[],
): Fingerprint {
  const taken = Object.fromEntries(enriched.map((name) => [name, shown.components[name]]));
  const all = { ...enrolled.components, ...taken };
  // In the order of the schema, which is how rows and requests write them: equal fingerprints are equal texts.
  const names = Object.keys(FINGERPRINT_WEIGHTS) as FingerprintComponent[];
  const known = names.flatMap((name): [string, unknown][] =>
    all[name] === undefined ? [] : [[name, all[name]]],
  );
  const id = createHash("sha256").update(JSON.stringify(known)).digest("base64url").slice(0, 32);
  return { v: 1, components: Object.fromEntries(known), id: `fp_${id}` };
}
