import { fault } from "../fault/fault.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import { TrustDocumentSchema } from "../protocol/trust.ts";
import { ROUTES } from "../protocol/wire.ts";
import { renewTrust, type TrustSet } from "../trust/trust-set.ts";
import type { Session } from "./session.ts";

/**
 * Asks for the Control Plane's key set, for an agent that was away while all the keys it knew were replaced. The pinned
 * root must have signed it, so whoever answers brings in no key of his own. Null when it is not newer than `known`.
 */
export async function fetchNewerTrust(
  known: TrustSet,
  ctx: { readonly session: Session; readonly nowS: number; readonly signal: AbortSignal },
): Promise<TrustSet | null> {
  const reply = await ctx.session.send({
    method: "GET",
    path: ROUTES.trust,
    maxReplyBytes: LIMITS.TRUST_DOCUMENT_BYTES,
    accept: "application/json",
    signal: ctx.signal,
  });
  const parsed = parseDocument(reply.body, TrustDocumentSchema);
  if (!parsed.ok) {
    throw fault("WIRE_REPLY_MALFORMED", { url: ROUTES.trust, why: `${parsed.path}: ${parsed.why}` });
  }
  const next = await renewTrust(known, parsed.value, ctx.nowS);
  return next.claims.seq > known.claims.seq ? next : null;
}
