import { isIP } from "node:net";
import { fault } from "../../fault/fault.ts";

/** So many at once, and one more each `everyMs`. */
export interface Allowance {
  readonly burst: number;
  readonly everyMs: number;
}

/** Requests that failed, of one address: guesses at tokens and keys. What succeeds is not counted. */
export const FAILURES: Allowance = { burst: 100, everyMs: 1_000 };
/** Access tokens for one key: an agent needs one in ten minutes. */
export const SIGN_INS: Allowance = { burst: 20, everyMs: 10_000 };

const NAMES_MAX = 10_000;

/**
 * Token buckets by name. Bounded: when there are too many names the one unused for longest is forgotten, which makes it
 * full again, as it nearly is by then.
 */
export class RateLimit {
  private readonly allowance: Allowance;
  /** When the bucket will be full again, milliseconds: one number is all a bucket is. */
  private readonly fullAt = new Map<string, number>();

  constructor(allowance: Allowance) {
    this.allowance = allowance;
  }

  /** Throws API_RATE_LIMITED when nothing is left for the name. */
  check(name: string, nowMs: number): void {
    const { burst, everyMs } = this.allowance;
    const emptyMs = (this.fullAt.get(name) ?? 0) - nowMs - (burst - 1) * everyMs;
    if (emptyMs > 0) throw fault("API_RATE_LIMITED", { seconds: Math.ceil(emptyMs / 1000) });
  }

  /** Takes one, whether or not there is one left. */
  spend(name: string, nowMs: number): void {
    const full = Math.max(nowMs, this.fullAt.get(name) ?? 0) + this.allowance.everyMs;
    this.fullAt.delete(name);
    this.fullAt.set(name, Math.min(full, nowMs + this.allowance.burst * this.allowance.everyMs));
    if (this.fullAt.size > NAMES_MAX) this.forgetOldest();
  }

  private forgetOldest(): void {
    for (const [name] of this.fullAt) {
      this.fullAt.delete(name);
      return;
    }
  }
}

/** The limits of one application. */
export class RequestLimits {
  readonly failures = new RateLimit(FAILURES);
  readonly signIns = new RateLimit(SIGN_INS);
}

/**
 * The address a request comes from. A proxy on this very host says for whom it asks, in the last entry of
 * `X-Forwarded-For`; anybody else's word for that is not taken.
 */
export function addressOf(peer: string | null, forwardedFor: string | null): string {
  const direct = plain(peer ?? "");
  if (!isLoopbackAddress(direct) || forwardedFor === null) return direct;
  const last = plain(forwardedFor.split(",").at(-1)?.trim() ?? "");
  return isIP(last) === 0 ? direct : last;
}

/** IPv4 addresses in their own form also where they come mapped into IPv6. */
const plain = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, "");

const isLoopbackAddress = (address: string): boolean => address === "::1" || /^127\./.test(address);
