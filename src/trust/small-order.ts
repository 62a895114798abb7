import type { KeyObject } from "node:crypto";

/**
 * The y coordinates of the eight points of small order on edwards25519, and the two that also stand for one of them when
 * not reduced (RFC 8032 section 5.1.3); little-endian hex without the sign bit, as in an encoded public key.
 */
const SMALL_ORDER: ReadonlySet<string> = new Set([
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]);

const KEY_BYTES = 32;

/** True for an Ed25519 public key under which somebody without any private key can sign. */
export function isSmallOrder(publicKey: KeyObject): boolean {
  const raw = publicKey.export({ type: "spki", format: "der" }).subarray(-KEY_BYTES);
  const y = Buffer.from(raw);
  y[KEY_BYTES - 1] = (y[KEY_BYTES - 1] ?? 0) & 0x7f;
  return SMALL_ORDER.has(y.toString("hex"));
}
