import { LIMITS } from "../protocol/limits.ts";
import { type ReceiptClaims, ReceiptClaimsSchema } from "../protocol/receipt.ts";
import type { Ed25519Jwk } from "../protocol/scalars.ts";
import { TYP } from "../protocol/trust.ts";
import { importVerifyKey, type SigningKey, thumbprint } from "./keys.ts";
import { signJws } from "./sign-jws.ts";
import { type JwsClass, type Opened, openJws } from "./strict-jws.ts";

const RECEIPT: JwsClass<typeof ReceiptClaimsSchema> = {
  what: "receipt",
  typ: TYP.receipt,
  maxBytes: LIMITS.BEAT_RECEIPTS_BYTES,
  schema: ReceiptClaimsSchema,
};

/** Signs what the agent did with one attempt. */
export const signReceipt = (key: SigningKey, claims: ReceiptClaims): Promise<string> =>
  signJws(TYP.receipt, key, claims);

/** Verifies a receipt under the identity key of the agent that wrote it. */
export async function openReceipt(text: unknown, identity: Ed25519Jwk): Promise<Opened<ReceiptClaims>> {
  const kid = await thumbprint(identity);
  const key = await importVerifyKey(identity);
  return await openJws(text, RECEIPT, (header) => (header.kid === kid ? key : null));
}
