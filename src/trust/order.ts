import { type Fault, fault, isFault } from "../fault/fault.ts";
import { LIMITS } from "../protocol/limits.ts";
import { type OrderClaims, OrderClaimsSchema } from "../protocol/order.ts";
import { type LicenseClaims, TYP } from "../protocol/trust.ts";
import { type JwsClass, type Opened, openJws } from "./strict-jws.ts";
import type { TrustSet } from "./trust-set.ts";

const ORDER: JwsClass<typeof OrderClaimsSchema> = {
  what: "order",
  typ: TYP.order,
  maxBytes: LIMITS.SMALL_JWS_BYTES,
  schema: OrderClaimsSchema,
};

declare const verified: unique symbol;

/** An order this process has verified. `verifyOrder` is the only maker; only what it made is ever followed. */
export interface VerifiedOrder {
  readonly [verified]: true;
  readonly claims: OrderClaims;
  /** The compact text as it came, for keeping as proof. */
  readonly jws: string;
}

/** Everything the checks need, as values. */
export interface OrderContext {
  readonly trust: TrustSet;
  readonly license: Pick<LicenseClaims, "sub" | "epoch">;
  /** Thumbprint of the own identity key. */
  readonly jkt: string;
  /** The process that asks: a `recover` order names one. */
  readonly inst: string;
  /** Number of the last order taken within the license's epoch; 0 before the first. */
  readonly lastSeq: number;
  readonly nowS: number;
}

export type OrderVerification =
  | { readonly verdict: "verified"; readonly order: VerifiedOrder }
  | { readonly verdict: "refused"; readonly why: Fault };

/**
 * Checks one order, in this sequence: size, strict syntax, key window and signature, type, schema, issuer, agent, key,
 * epoch, time, number, process. Each refusal has a code of its own and changes nothing.
 */
export async function verifyOrder(text: unknown, ctx: OrderContext): Promise<OrderVerification> {
  let opened: Opened<OrderClaims>;
  try {
    opened = await openJws(text, ORDER, (h) => ctx.trust.keyFor("order", h.kid, ctx.nowS));
  } catch (error) {
    if (isFault(error)) return { verdict: "refused", why: error };
    throw error;
  }
  const { claims } = opened;
  const why =
    bindingProblem(claims, ctx) ??
    timeProblem(claims, ctx.nowS) ??
    numberProblem(claims, ctx.lastSeq) ??
    processProblem(claims, ctx.inst);
  if (why) return { verdict: "refused", why };
  return { verdict: "verified", order: { claims, jws: text } as VerifiedOrder };
}

/**
 * Opens an order that was verified when it came and has been kept since: its signature by a key that may have had its
 * time, and whom it is for. Throws JWS_* and ORDER_* faults.
 */
export async function openKeptOrder(
  text: unknown,
  trust: TrustSet,
  own: { readonly jkt: string | null; readonly agentId: string },
): Promise<OrderClaims> {
  const { claims } = await openJws(text, ORDER, ({ kid }) => {
    const row = trust.claims.keys.find((key) => key.use === "order" && key.kid === kid);
    return row === undefined ? null : trust.keyFor("order", kid, row.nbf);
  });
  if (claims.iss !== trust.issuer) throw fault("ORDER_WRONG_ISSUER", { found: claims.iss });
  if (claims.aud !== own.agentId) throw fault("ORDER_WRONG_AGENT", { found: claims.aud });
  if (own.jkt !== null && claims.jkt !== own.jkt) throw fault("ORDER_WRONG_AGENT", { found: claims.jkt });
  return claims;
}

function bindingProblem(claims: OrderClaims, { trust, license, jkt }: OrderContext): Fault | null {
  if (claims.iss !== trust.issuer) return fault("ORDER_WRONG_ISSUER", { found: claims.iss });
  if (claims.aud !== license.sub) return fault("ORDER_WRONG_AGENT", { found: claims.aud });
  if (claims.jkt !== jkt) return fault("ORDER_WRONG_AGENT", { found: claims.jkt });
  if (claims.epoch !== license.epoch) {
    return fault("ORDER_WRONG_EPOCH", { found: claims.epoch, expected: license.epoch });
  }
  return null;
}

function timeProblem({ iat, nbf, exp }: OrderClaims, nowS: number): Fault | null {
  const refuse = (why: string) => fault("ORDER_NOT_IN_TIME", { why });
  if (exp - iat > LIMITS.SIGNED_LIFETIME_S) return refuse("it lives too long");
  if (nbf < iat - LIMITS.CLOCK_TOLERANCE_S || exp <= nbf) return refuse("it ends before it begins");
  const begins = Math.max(iat, nbf) - LIMITS.CLOCK_TOLERANCE_S;
  if (nowS < begins) return refuse(`it begins in ${begins - nowS} s`);
  if (nowS >= exp + LIMITS.CLOCK_TOLERANCE_S) return refuse(`it ended ${nowS - exp} s ago`);
  return null;
}

function numberProblem({ seq }: OrderClaims, lastSeq: number): Fault | null {
  return seq > lastSeq ? null : fault("ORDER_REPLAYED", { found: seq, last: lastSeq });
}

/** A copy of the agent holds the same key: only the process an admin picked may make a new one. */
function processProblem({ order }: OrderClaims, inst: string): Fault | null {
  if (order.type !== "recover" || order.inst === inst) return null;
  return fault("ORDER_WRONG_AGENT", { found: order.inst });
}
