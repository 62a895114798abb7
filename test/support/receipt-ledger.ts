// What a Control Plane knows of an agent's receipts: each verified, chained to the one before, one for each attempt.

import { isFault } from "../../src/fault/fault.ts";
import type { Sha256 } from "../../src/protocol/ids.ts";
import { FIRST_PREV_SHA256, type ReceiptClaims } from "../../src/protocol/receipt.ts";
import type { Ed25519Jwk } from "../../src/protocol/scalars.ts";
import { openReceipt } from "../../src/trust/receipt.ts";
import type { Opened } from "../../src/trust/strict-jws.ts";

export class ReceiptLedger {
  /** In the order of their numbers. */
  readonly claims: ReceiptClaims[] = [];
  /** Every key the agent has had. */
  readonly identities: Ed25519Jwk[] = [];
  private readonly known = new Set<Sha256>();
  private readonly violations: string[];
  head = { seq: 0, sha256: FIRST_PREV_SHA256 };

  constructor(violations: string[]) {
    this.violations = violations;
  }

  fork(violations: string[]): ReceiptLedger {
    const twin = new ReceiptLedger(violations);
    twin.identities.push(...this.identities);
    twin.claims.push(...this.claims);
    for (const sha256 of this.known) twin.known.add(sha256);
    twin.head = this.head;
    return twin;
  }

  /** The receipt of an attempt. */
  of(jti: string, attempt = 1): ReceiptClaims | undefined {
    return this.claims.find((claims) => claims.jti === jti && claims.attempt === attempt);
  }

  /** Takes what one beat brings; returns what to acknowledge. */
  async take(receipts: readonly string[]): Promise<Sha256[]> {
    const taken: Sha256[] = [];
    for (const jws of receipts) {
      const opened = await this.open(jws);
      if (opened === null) continue;
      if (!this.known.has(opened.sha256)) this.add(opened);
      taken.push(opened.sha256);
    }
    return taken;
  }

  private async open(jws: string): Promise<Opened<ReceiptClaims> | null> {
    if (this.identities.length === 0) throw new Error("nobody is enrolled");
    let last: unknown = null;
    for (const identity of this.identities) {
      try {
        return await openReceipt(jws, identity);
      } catch (error) {
        if (!isFault(error)) throw error;
        last = error;
      }
    }
    this.violations.push(`receipt: ${String(last)}`);
    return null;
  }

  private add({ claims, sha256 }: Opened<ReceiptClaims>): void {
    if (claims.seq !== this.head.seq + 1)
      this.violations.push(`receipt ${claims.seq} after ${this.head.seq}`);
    if (claims.prev_sha256 !== this.head.sha256)
      this.violations.push(`receipt ${claims.seq} breaks the chain`);
    if (this.of(claims.jti, claims.attempt)) this.violations.push(`two receipts for ${claims.jti}`);
    this.head = { seq: claims.seq, sha256 };
    this.known.add(sha256);
    this.claims.push(claims);
  }
}
