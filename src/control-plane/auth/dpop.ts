import { createHash } from "node:crypto";
import * as v from "valibot";
import { type Fault, fault, isFault } from "../../fault/fault.ts";
import { LIMITS } from "../../protocol/limits.ts";
import { type Ed25519Jwk, Ed25519JwkSchema, EpochSecondsSchema } from "../../protocol/scalars.ts";
import { TYP } from "../../protocol/trust.ts";
import { importVerifyKey, thumbprint } from "../../trust/keys.ts";
import { type JwsClass, openJws } from "../../trust/strict-jws.ts";
import type { DpopNonces } from "./dpop-nonce.ts";
import type { SeenProofs } from "./seen-proofs.ts";

const digest = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/));

const ProofSchema = v.strictObject({
  htm: v.pipe(v.string(), v.maxLength(16)),
  htu: v.pipe(v.string(), v.maxLength(2048)),
  jti: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{16,64}$/)),
  iat: EpochSecondsSchema,
  bsha: digest,
  ath: v.optional(digest),
  nonce: v.optional(v.pipe(v.string(), v.maxLength(64))),
});

const PROOF: JwsClass<typeof ProofSchema> = {
  what: "proof of possession",
  typ: TYP.dpop,
  maxBytes: LIMITS.SMALL_JWS_BYTES,
  schema: ProofSchema,
  embeddedJwk: true,
};

/** What a proof must speak of. */
export interface ProofTarget {
  readonly method: string;
  /** Public URL of the route, without query. */
  readonly url: string;
  readonly body: Uint8Array;
  /** The access token it goes with, and the key that token is bound to. */
  readonly bearer?: { readonly token: string; readonly jkt: string };
}

/** A key that signed this very request, just now, once. */
export interface Proven {
  readonly jwk: Ed25519Jwk;
  readonly jkt: string;
  readonly iatS: number;
  /** Names the proof among all proofs: to be written down where every replica sees it. */
  readonly proof: string;
}

export interface DpopContext {
  readonly nonces: DpopNonces;
  readonly seen: SeenProofs;
  readonly nowMs: number;
  /** Told when a key has signed just now with a clock that is too far off. */
  readonly skewed?: (jkt: string, seconds: number) => void;
}

/**
 * Checks a DPoP proof (RFC 9449 section 4.3), in this order: strict form and signature by the embedded key, bound key,
 * method, URL, body, access token, age, nonce, replay. Throws DPOP_INVALID, WIRE_CLOCK_SKEW or USE_DPOP_NONCE.
 */
export async function checkProof(
  header: string | null,
  target: ProofTarget,
  ctx: DpopContext,
): Promise<Proven> {
  if (header === null) throw invalid("the request carries none");
  const { claims, jwk, jkt } = await openProof(header);
  const nowS = Math.floor(ctx.nowMs / 1000);
  if (target.bearer !== undefined && target.bearer.jkt !== jkt) throw invalid("it is made with another key");
  if (claims.htm !== target.method) throw invalid(`it is for ${claims.htm}`);
  if (claims.htu !== target.url) throw invalid(`it is for "${claims.htu}", this is "${target.url}"`);
  if (claims.bsha !== sha256(target.body)) throw invalid("it is for another body");
  if (claims.ath !== (target.bearer === undefined ? undefined : sha256(target.bearer.token))) {
    throw invalid("it is for another access token");
  }
  const seconds = Math.abs(nowS - claims.iat);
  if (seconds > LIMITS.DPOP_AGE_S) {
    // With a nonce of ours it is new, whatever time it says; an old one played back says nothing of anybody's clock.
    if (ctx.nonces.accepts(claims.nonce, nowS)) ctx.skewed?.(jkt, seconds);
    throw fault("WIRE_CLOCK_SKEW", { seconds });
  }
  if (!ctx.nonces.accepts(claims.nonce, nowS)) throw fault("USE_DPOP_NONCE");
  const proof = `${jkt}.${claims.jti}`;
  if (!ctx.seen.admit(proof, ctx.nowMs)) throw replayed();
  return { jwk, jkt, iatS: claims.iat, proof };
}

/** What a second use of a proof is answered. */
export const replayed = (): Fault => invalid("it was used before");

async function openProof(header: string) {
  let embedded: Ed25519Jwk | null = null;
  try {
    const { claims } = await openJws(header, PROOF, async ({ jwk }) => {
      const parsed = v.safeParse(Ed25519JwkSchema, jwk);
      if (!parsed.success) return null;
      embedded = parsed.output;
      return await importVerifyKey(parsed.output);
    });
    return { claims, ...(await keyOf(embedded)) };
  } catch (error) {
    if (isFault(error)) throw fault("DPOP_INVALID", { why: error.message }, error);
    throw error;
  }
}

async function keyOf(jwk: Ed25519Jwk | null): Promise<{ jwk: Ed25519Jwk; jkt: string }> {
  if (jwk === null) throw invalid("it embeds no key");
  return { jwk, jkt: await thumbprint(jwk) };
}

const sha256 = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("base64url");
const invalid = (why: string): Fault => fault("DPOP_INVALID", { why });
