import * as v from "valibot";
import { fault, isFault } from "../../fault/fault.ts";
import { type AgentId, AgentIdSchema } from "../../protocol/ids.ts";
import { LIMITS } from "../../protocol/limits.ts";
import { EpochSecondsSchema } from "../../protocol/scalars.ts";
import { TYP } from "../../protocol/trust.ts";
import { importVerifyKey } from "../../trust/keys.ts";
import { type JwsClass, openJws } from "../../trust/strict-jws.ts";
import type { Proven } from "./dpop.ts";

const AssertionSchema = v.strictObject({
  iss: AgentIdSchema,
  sub: AgentIdSchema,
  aud: v.pipe(v.string(), v.maxLength(2048)),
  jti: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{16,64}$/)),
  iat: EpochSecondsSchema,
  exp: EpochSecondsSchema,
});

const ASSERTION: JwsClass<typeof AssertionSchema> = {
  what: "client assertion",
  typ: TYP.assertion,
  maxBytes: LIMITS.SMALL_JWS_BYTES,
  schema: AssertionSchema,
};

const LIFETIME_S = 300;

/**
 * Checks a `private_key_jwt` client assertion (RFC 7523 section 3) under the key that signed the request's proof, so
 * that nothing unverified is ever looked up. `audiences`: the token route and the server itself. Whether that key is
 * the agent's, and the assertion new, is for the caller. Throws API_UNAUTHENTICATED.
 */
export async function checkAssertion(
  text: string,
  proven: Proven,
  ctx: { readonly audiences: readonly string[]; readonly nowS: number },
): Promise<{ agentId: AgentId; proof: string }> {
  const { iss, sub, aud, jti, iat, exp } = await open(text, proven);
  const refuse = (why: string) => fault("API_UNAUTHENTICATED", { why });
  if (iss !== sub) throw refuse("the client assertion names two agents");
  if (!ctx.audiences.includes(aud)) throw refuse(`the client assertion is for "${aud}"`);
  const seconds = Math.abs(ctx.nowS - iat);
  if (seconds > LIMITS.DPOP_AGE_S) throw fault("WIRE_CLOCK_SKEW", { seconds });
  if (exp <= ctx.nowS || exp <= iat || exp - iat > LIFETIME_S)
    throw refuse("the client assertion has expired");
  return { agentId: sub, proof: `${proven.jkt}.assertion.${jti}` };
}

async function open(text: string, proven: Proven) {
  try {
    const key = await importVerifyKey(proven.jwk);
    return (await openJws(text, ASSERTION, (header) => (header.kid === proven.jkt ? key : null))).claims;
  } catch (error) {
    if (isFault(error)) throw fault("API_UNAUTHENTICATED", { why: error.message }, error);
    throw error;
  }
}
