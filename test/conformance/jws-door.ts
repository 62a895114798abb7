// A door behind the strict JWS layer.

import { LIMITS } from "../../src/protocol/limits.ts";
import type { SigningKey } from "../../src/trust/keys.ts";
import type { Door, DoorName, Feature, Surroundings } from "./door.ts";

/** A strict-JWS door: what is particular to it. */
interface JwsDoor {
  readonly name: DoorName;
  readonly typ: string;
  readonly key: SigningKey;
  readonly features: readonly Feature[];
  readonly claims: object;
  readonly maxBytes?: number;
  readonly show: (text: unknown, surroundings: Surroundings) => Promise<string>;
  readonly tells?: (code: string) => string;
}

export const jwsDoor = (made: JwsDoor): Door => ({
  ...made,
  features: new Set(made.features),
  header: made.features.includes("jwk")
    ? { alg: "EdDSA", jwk: made.key.jwk, typ: made.typ }
    : { alg: "EdDSA", kid: made.key.kid, typ: made.typ },
  claims: { ...made.claims },
  seal: async (input) =>
    Buffer.from(
      await crypto.subtle.sign("Ed25519", made.key.privateKey, Buffer.from(input, "latin1")),
    ).toString("base64url"),
  maxBytes: made.maxBytes ?? LIMITS.SMALL_JWS_BYTES,
  show: (text, surroundings = {}) => made.show(text, surroundings),
  tells: made.tells ?? ((code) => code),
});
