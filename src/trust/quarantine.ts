import { LIMITS } from "../protocol/limits.ts";
import { type QuarantineNote, QuarantineNoteSchema } from "../protocol/order.ts";
import { TYP } from "../protocol/trust.ts";
import { importVerifyKey, type SigningKey } from "./keys.ts";
import { signJws } from "./sign-jws.ts";
import { type JwsClass, openJws } from "./strict-jws.ts";

const NOTE: JwsClass<typeof QuarantineNoteSchema> = {
  what: "quarantine note",
  typ: TYP.quarantine,
  maxBytes: LIMITS.SMALL_JWS_BYTES,
  schema: QuarantineNoteSchema,
};

/** Signs what an agent writes down when it finds by itself that it must not go on. */
export const signQuarantine = (key: SigningKey, note: QuarantineNote): Promise<string> =>
  signJws(TYP.quarantine, key, note);

/** Opens a note under the key that must have written it: the agent's own. Throws JWS_* faults. */
export async function openQuarantine(
  text: unknown,
  identity: Pick<SigningKey, "kid" | "jwk">,
): Promise<QuarantineNote> {
  const key = await importVerifyKey(identity.jwk);
  const { claims } = await openJws(text, NOTE, ({ kid }) => (kid === identity.kid ? key : null));
  return claims;
}
