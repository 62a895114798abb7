import { base62, base62Bytes, type RandomBytes } from "./ids.ts";

/**
 * `act_<id>_<secret>_<root thumbprint>_<crc32>`: id 12, secret 43 (256 bits), thumbprint 43 base62 characters,
 * CRC-32 (ISO-HDLC) of everything before it in 8 hex digits. The checksum catches typos before any network,
 * the thumbprint pins the trust root before anything the server says is believed.
 */
export interface ActivationToken {
  readonly id: string;
  readonly secret: string;
  readonly rootThumbprint: string;
}

const ID_CHARS = 12;
const SECRET_CHARS = 43;
const FORM = /^act_([0-9A-Za-z]{12})_([0-9A-Za-z]{43})_([0-9A-Za-z]{43})_([0-9a-f]{8})$/;

/** Mints the token text for a trust root; the caller keeps only a hash of the secret. */
export function mintActivationToken(
  rootThumbprint: string,
  random: RandomBytes,
): { token: string } & ActivationToken {
  const id = base62(random(base62Bytes(ID_CHARS)), ID_CHARS);
  const secret = base62(random(base62Bytes(SECRET_CHARS)), SECRET_CHARS);
  const body = `act_${id}_${secret}_${rootThumbprint}`;
  return { token: `${body}_${crc32Hex(body)}`, id, secret, rootThumbprint };
}

/** Reads a token as a person pasted it: surrounding white space is dropped, everything else must be exact. */
export function parseActivationToken(pasted: string): ActivationToken | { readonly why: string } {
  const text = pasted.trim();
  if (text === "") return { why: "it is empty" };
  if (!text.startsWith("act_")) return { why: 'it does not begin with "act_"' };
  const match = FORM.exec(text);
  const [, id, secret, rootThumbprint, checksum] = match ?? [];
  if (!id || !secret || !rootThumbprint || !checksum) {
    return { why: `it is not complete or holds a foreign character (${text.length} characters)` };
  }
  const body = text.slice(0, text.lastIndexOf("_"));
  if (crc32Hex(body) !== checksum) return { why: "its checksum does not fit: a character is wrong" };
  return { id, secret, rootThumbprint };
}

const crc32Hex = (text: string): string => Bun.hash.crc32(text).toString(16).padStart(8, "0");
