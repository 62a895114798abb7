import { fault, isFault } from "../fault/fault.ts";
import type { AgentId } from "../protocol/ids.ts";
import { LIMITS } from "../protocol/limits.ts";
import { TYP } from "../protocol/trust.ts";
import { ReplyClaimsSchema } from "../protocol/wire.ts";
import { type JwsClass, openJws, sha256Of } from "./strict-jws.ts";
import type { TrustSet } from "./trust-set.ts";

const REPLY: JwsClass<typeof ReplyClaimsSchema> = {
  what: "heartbeat reply",
  typ: TYP.reply,
  maxBytes: LIMITS.SMALL_JWS_BYTES,
  schema: ReplyClaimsSchema,
};

/**
 * Holds the bytes of a heartbeat reply against the signature of its header: an order key of the trust set, this agent,
 * this request. Throws WIRE_REPLY_UNSIGNED; nothing of the reply may be used then.
 */
export async function verifyReply(
  header: string | null,
  body: Uint8Array,
  ctx: { trust: TrustSet; agentId: AgentId; rid: string; nowS: number; url: string },
): Promise<void> {
  const refuse = (why: string, cause?: unknown) => fault("WIRE_REPLY_UNSIGNED", { url: ctx.url, why }, cause);
  if (header === null) throw refuse("it carries no signature");
  try {
    const { claims } = await openJws(header, REPLY, (h) => ctx.trust.keyFor("order", h.kid, ctx.nowS));
    if (claims.agent !== ctx.agentId) throw refuse("its signature is for another agent");
    if (claims.rid !== ctx.rid) throw refuse("its signature is for another request");
    if (claims.sha256 !== sha256Of(body)) throw refuse("its bytes are not the ones that were signed");
  } catch (error) {
    if (isFault(error, "WIRE_REPLY_UNSIGNED")) throw error;
    if (isFault(error)) throw refuse(error.message, error);
    throw error;
  }
}
