import { createHash } from "node:crypto";
import { FINGERPRINT_WEIGHTS } from "./fingerprint-weights.ts";
import type { Fingerprint, FingerprintComponent } from "./trust.ts";

const ID_CHARS = 32;
/** Fixed order, so that equal fingerprints are equal texts and the id does not depend on how they were put together. */
const NAMES = Object.keys(FINGERPRINT_WEIGHTS) as readonly FingerprintComponent[];

/** The fingerprint of these components, in their order and under its id. Pure. */
export function fingerprintOf(components: Fingerprint["components"]): Fingerprint {
  const known = NAMES.flatMap((name): [string, unknown][] =>
    components[name] === undefined ? [] : [[name, components[name]]],
  );
  const id = createHash("sha256").update(JSON.stringify(known)).digest("base64url").slice(0, ID_CHARS);
  return { v: 1, components: Object.fromEntries(known), id: `fp_${id}` };
}
