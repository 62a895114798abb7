import type { AgentId } from "../../protocol/ids.ts";
import { LIMITS } from "../../protocol/limits.ts";
import type { Order, OrderClaims } from "../../protocol/order.ts";
import { TYP } from "../../protocol/trust.ts";
import { signJws } from "../../trust/sign-jws.ts";
import type { KeyRing } from "../keys/keyring.ts";

/** Whom an order is for: one key of one agent, in one epoch. */
export interface OrderAddress {
  readonly agentId: AgentId;
  readonly jkt: string;
  readonly epoch: number;
}

/** Signs one order at the moment it is delivered, for a quarter of an hour. */
export function signOrder(
  { agentId, jkt, epoch }: OrderAddress,
  { seq, order }: { readonly seq: number; readonly order: Order },
  ring: KeyRing,
  nowS: number,
): Promise<string> {
  const claims: OrderClaims = {
    v: 1,
    iss: ring.claims.iss,
    aud: agentId,
    sub: "order",
    jkt,
    epoch,
    seq,
    order,
    iat: nowS,
    nbf: nowS,
    exp: nowS + LIMITS.SIGNED_LIFETIME_S,
  };
  return signJws(TYP.order, ring.signer("order", nowS), claims);
}
