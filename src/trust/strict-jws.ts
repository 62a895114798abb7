import { createHash, KeyObject, verify } from "node:crypto";
import * as v from "valibot";
import { fault, invariant } from "../fault/fault.ts";
import { decodeBase64url } from "../protocol/base64url.ts";
import { type Sha256, Sha256Schema } from "../protocol/ids.ts";
import { parseDocument, parseValue } from "../protocol/json.ts";
import { isSmallOrder } from "./small-order.ts";

/** What one class of signed text must look like. Algorithm and type are never taken from the text itself. */
export interface JwsClass<S extends v.GenericSchema> {
  /** How faults call it: "job", "license", … */
  readonly what: string;
  readonly typ: string;
  readonly maxBytes: number;
  readonly schema: S;
  /** The header carries its public key as `jwk` in place of `kid` (a DPoP proof, RFC 9449 section 4.2). */
  readonly embeddedJwk?: true;
}

export interface JwsHeader {
  readonly alg: string;
  readonly typ: string;
  readonly kid?: string;
  readonly jwk?: unknown;
}

export interface Opened<T> {
  readonly claims: T;
  readonly header: JwsHeader;
  /** SHA-256 of the compact text as it was transmitted. */
  readonly sha256: Sha256;
}

const HeaderSchema = v.object({
  alg: v.string(),
  typ: v.string(),
  kid: v.optional(v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{8,64}$/))),
  jwk: v.optional(v.unknown()),
});

/**
 * Opens a compact JWS (RFC 7515 section 3.1) in security order: size, three canonical parts, header equal to its own
 * re-serialisation with allowed members only, algorithm, key, signature over the transmitted bytes, type, strict JSON,
 * schema. Nothing of the payload is read before its signature holds. `keyOf` answers the key that may sign this class
 * now, or null. Throws JWS_OVERSIZED, JWS_MALFORMED, JWS_WRONG_ALGORITHM, JWS_UNKNOWN_KEY, JWS_BAD_SIGNATURE,
 * JWS_WRONG_TYPE, JWS_WRONG_CLAIMS.
 */
export async function openJws<S extends v.GenericSchema>(
  text: unknown,
  cls: JwsClass<S>,
  keyOf: (header: JwsHeader) => CryptoKey | null | Promise<CryptoKey | null>,
): Promise<Opened<v.InferOutput<S>>> {
  const parts = splitCompact(text, cls);
  const header = readHeader(parts.header, cls);
  if (header.alg !== "EdDSA") {
    throw fault("JWS_WRONG_ALGORITHM", { what: cls.what, found: header.alg, expected: "EdDSA" });
  }
  const key = await keyOf(header);
  if (key === null) throw fault("JWS_UNKNOWN_KEY", { what: cls.what, kid: header.kid ?? "(none)" });
  if (!isSigned(parts, key)) throw fault("JWS_BAD_SIGNATURE", { what: cls.what });
  if (header.typ !== cls.typ) {
    throw fault("JWS_WRONG_TYPE", { what: cls.what, found: header.typ, expected: cls.typ });
  }
  return { claims: readClaims(parts.payload, cls), header, sha256: sha256Of(parts.text) };
}

/** SHA-256 of a text's UTF-8 bytes or of bytes, as lower-case hex. */
export function sha256Of(data: string | Uint8Array): Sha256 {
  return v.parse(Sha256Schema, createHash("sha256").update(data).digest("hex"));
}

interface Parts {
  readonly text: string;
  readonly header: Uint8Array;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
}

function splitCompact(text: unknown, cls: JwsClass<v.GenericSchema>): Parts {
  if (typeof text !== "string") throw malformed(cls, "it is not a text");
  if (text.length > cls.maxBytes) {
    throw fault("JWS_OVERSIZED", { what: cls.what, bytes: text.length, limit: cls.maxBytes });
  }
  const parts = text.split(".");
  if (parts.length !== 3) throw malformed(cls, `it has ${parts.length} parts, not three`);
  const [header, payload, signature] = parts.map((part) => (part === "" ? null : decodeBase64url(part)));
  if (!header || !payload || !signature) throw malformed(cls, "a part is empty or not canonical base64url");
  if (signature.length !== 64) throw malformed(cls, "its signature is not 64 bytes long");
  return { text, header, payload, signature };
}

function readHeader(bytes: Uint8Array, cls: JwsClass<v.GenericSchema>): JwsHeader {
  const parsed = parseDocument(bytes, v.record(v.string(), v.unknown()));
  if (!parsed.ok) throw malformed(cls, `its header ${parsed.why}`);
  if (JSON.stringify(parsed.value) !== Buffer.from(bytes).toString("utf8")) {
    throw malformed(cls, "its header is not in its shortest form");
  }
  const allowed = cls.embeddedJwk ? ["alg", "jwk", "typ"] : ["alg", "kid", "typ"];
  const foreign = Object.keys(parsed.value).find((name) => !allowed.includes(name));
  if (foreign !== undefined) throw malformed(cls, `its header holds "${foreign}"`);
  const missing = allowed.find((name) => !Object.hasOwn(parsed.value, name));
  if (missing !== undefined) throw malformed(cls, `its header lacks "${missing}"`);
  if (Object.keys(parsed.value).join() !== allowed.join()) {
    throw malformed(cls, "its header members are not in their order");
  }
  const header = v.safeParse(HeaderSchema, parsed.value);
  if (!header.success) throw malformed(cls, "a header member has the wrong form");
  const { alg, typ, kid, jwk } = header.output;
  return { alg, typ, ...(kid === undefined ? {} : { kid }), ...(jwk === undefined ? {} : { jwk }) };
}

/**
 * Ed25519 (RFC 8032) over header and payload as they were transmitted. A key of small order proves nothing: there are
 * signatures that fit it whatever the text (RFC 8725 section 3.4 asks to validate such inputs; BoringSSL does not).
 */
function isSigned({ text, signature }: Parts, key: CryptoKey): boolean {
  const publicKey = KeyObject.from(key);
  invariant(publicKey.asymmetricKeyType === "ed25519", "signatures are checked under Ed25519 keys");
  if (isSmallOrder(publicKey)) return false;
  return verify(null, Buffer.from(text.slice(0, text.lastIndexOf(".")), "latin1"), publicKey, signature);
}

/** Strict JSON and schema are two faults: the first is no document at all, the second one of another version or maker. */
function readClaims<S extends v.GenericSchema>(payload: Uint8Array, cls: JwsClass<S>): v.InferOutput<S> {
  const document = parseDocument(payload, v.unknown());
  if (!document.ok) throw malformed(cls, `its payload ${document.why}`);
  const claims = parseValue(document.value, cls.schema);
  if (claims.ok) return claims.value;
  throw fault("JWS_WRONG_CLAIMS", { what: cls.what, path: claims.path, why: claims.why });
}

const malformed = (cls: JwsClass<v.GenericSchema>, why: string) =>
  fault("JWS_MALFORMED", { what: cls.what, why });
