import { createHmac } from "node:crypto";
import { fingerprintOf } from "../protocol/fingerprint-id.ts";
import { FINGERPRINT_WEIGHTS } from "../protocol/fingerprint-weights.ts";
import type { Fingerprint, FingerprintComponent } from "../protocol/trust.ts";

/** What was read of the machine, as text, before anything is left out or hidden. */
export type RawIdentity = {
  readonly [Name in Exclude<FingerprintComponent, "macs">]?: string;
} & { readonly macs?: readonly string[] };

const DIGEST_CHARS = 22;
const MACS_MAX = 64;

/** What firmware says when nobody told it the truth: the same on thousands of boards. Compared without dashes. */
const JUNK = new RegExp(
  `^(${[
    "0+|f+|x+|oem|none|null|n/?a|empty|unknown|invalid|uninitialized|default string",
    "not (specified|applicable|available|present|provided)",
    "(system |base ?board |chassis )?serial ?(number)?",
    "to be filled by o\\.?e\\.?m\\.?",
    "asset ?(tag|1234567890)?",
    "0?123456789(0|abcdef)?|1234567|12345678",
    "03000200040005000006000700080009|00020003000400050006000700080009|fefefefe.*",
  ].join("|")})$`,
);

const NAMES = Object.keys(FINGERPRINT_WEIGHTS) as readonly FingerprintComponent[];

/**
 * The fingerprint as it leaves the host: each component an HMAC-SHA256 under the Control Plane's salt, so that neither
 * side can tell what it was, nor compare it with another Control Plane's. Values that say nothing are left out.
 */
export function makeFingerprint(raw: RawIdentity, salt: string): Fingerprint {
  const hide = (name: FingerprintComponent, value: string): string =>
    createHmac("sha256", `agentina fingerprint v1 ${salt}`)
      .update(`${name}\0${value}`)
      .digest("base64url")
      .slice(0, DIGEST_CHARS);
  const known = NAMES.flatMap((name): [string, string | string[]][] => {
    if (name === "macs") {
      const macs = [
        ...new Set((raw.macs ?? []).filter(isGlobalMac).map((mac) => hide(name, mac.toLowerCase()))),
      ];
      return macs.length === 0 ? [] : [[name, macs.sort().slice(0, MACS_MAX)]];
    }
    const value = meaningful(raw[name]);
    return value === null ? [] : [[name, hide(name, value)]];
  });
  return fingerprintOf(Object.fromEntries(known));
}

/** The value as it is compared (case and outer white space do not count), or null when it identifies nothing. */
export function meaningful(value: string | undefined): string | null {
  const text = (value ?? "").replaceAll("\0", "").trim().toLowerCase();
  return text === "" || JUNK.test(text) || JUNK.test(text.replaceAll("-", "")) ? null : text;
}

/** A MAC the maker gave: not zero, not made up by software (the locally administered bit), not a group's (IEEE 802). */
export function isGlobalMac(mac: string): boolean {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac) || /^(00:){5}00$/.test(mac)) return false;
  return (Number.parseInt(mac.slice(0, 2), 16) & 0b11) === 0;
}
