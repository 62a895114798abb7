import { createHash, timingSafeEqual } from "node:crypto";
import { fault } from "../../fault/fault.ts";
import { base62, base62Bytes, type RandomBytes } from "../../protocol/ids.ts";
import { readPrivateFile, writeDurably } from "./durable-file.ts";

const FORM = /^adm_[0-9A-Za-z]{43}$/;
const SECRET_CHARS = 43;

/** The operator's key on this data directory, made at the first start. Throws CONTROL_KEY_UNUSABLE. */
export async function adminKey(path: string, random: RandomBytes, mayCreate: boolean): Promise<string> {
  const file = await readPrivateFile(path, 256);
  if (!file.found && file.missing && mayCreate) {
    const made = `adm_${base62(random(base62Bytes(SECRET_CHARS)), SECRET_CHARS)}`;
    await writeDurably(path, `${made}\n`);
    return made;
  }
  if (!file.found) throw fault("CONTROL_KEY_UNUSABLE", { path, why: file.why });
  return parseAdminKey(new TextDecoder().decode(file.bytes), path);
}

/** Reads the key as its file holds it. */
export function parseAdminKey(text: string, path: string): string {
  const key = text.trim();
  if (!FORM.test(key)) throw fault("CONTROL_KEY_UNUSABLE", { path, why: "it does not hold an admin key" });
  return key;
}

/** Compares two secrets in a time that says nothing about either. */
export const sameSecret = (a: string, b: string): boolean => timingSafeEqual(digest(a), digest(b));

const digest = (text: string) => createHash("sha256").update(text).digest();
