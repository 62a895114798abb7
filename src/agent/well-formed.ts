/**
 * A JSON value with every half surrogate pair in its texts replaced by U+FFFD. Texts are cut by length in many places;
 * one cut in the middle of a pair would make a document that no strict reader takes (RFC 7493 section 2.1).
 */
export const wellFormed = <T>(value: T): T => mended(value) as T;

function mended(value: unknown): unknown {
  if (typeof value === "string") return value.toWellFormed();
  if (Array.isArray(value)) return value.map(mended);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name.toWellFormed(), mended(item)]));
}
