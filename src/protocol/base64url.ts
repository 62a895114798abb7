/**
 * Decodes unpadded base64url (RFC 4648 section 5) and accepts exactly one spelling of every byte string:
 * no padding, no white space, no foreign alphabet, trailing bits zero. Returns null for any other text.
 */
export function decodeBase64url(text: string): Uint8Array | null {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) return null;
  const bytes = Buffer.from(text, "base64url");
  return bytes.toString("base64url") === text ? new Uint8Array(bytes) : null;
}

export const encodeBase64url = (bytes: Uint8Array | string): string =>
  Buffer.from(bytes).toString("base64url");
