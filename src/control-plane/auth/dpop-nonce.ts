import { createHmac, timingSafeEqual } from "node:crypto";
import { SETTINGS } from "../settings.ts";

/**
 * Nonces of DPoP proofs (RFC 9449 section 8) without state: an HMAC of the number of a five-minute slot. Every replica
 * with the same key gives and accepts the same ones; that of the slot before is accepted too.
 */
export class DpopNonces {
  private readonly key: Uint8Array;

  constructor(key: Uint8Array) {
    this.key = key;
  }

  /** The nonce to give at `nowS`. */
  current(nowS: number): string {
    return this.ofSlot(Math.floor(nowS / SETTINGS.NONCE_SLOT_S));
  }

  accepts(nonce: string | undefined, nowS: number): boolean {
    if (nonce === undefined) return false;
    const slot = Math.floor(nowS / SETTINGS.NONCE_SLOT_S);
    return equal(nonce, this.ofSlot(slot)) || equal(nonce, this.ofSlot(slot - 1));
  }

  private ofSlot(slot: number): string {
    const mac = createHmac("sha256", this.key).update(`dpop-nonce ${slot}`).digest();
    return mac.subarray(0, 16).toString("base64url");
  }
}

function equal(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
