import { createCipheriv, createDecipheriv } from "node:crypto";
import { fault } from "../../fault/fault.ts";
import { decodeBase64url, encodeBase64url } from "../../protocol/base64url.ts";
import type { RandomBytes } from "../../protocol/ids.ts";
import { readPrivateFile, writeDurably } from "../data/durable-file.ts";
import type { SecretRow } from "../store/schema.ts";

const CIPHER = "aes-256-gcm";
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** First part of every box: what follows and how it was made. */
const FORM = "v1";

/** What a box is bound to: moved to another row, or with its limits widened, it does not open. */
export type SecretBinding = Pick<SecretRow, "account_id" | "name" | "kinds" | "labels">;

/**
 * Keeps values with AES-256-GCM (NIST SP 800-38D) under the key of a file beside the database, so that a copy of the
 * database or a backup holds none. A fresh 96-bit nonce for each box: by chance two of them meet after some 2^48 writes.
 */
export class SecretVault {
  private readonly key: Uint8Array;
  private readonly random: RandomBytes;

  constructor(key: Uint8Array, random: RandomBytes) {
    this.key = key;
    this.random = random;
  }

  seal(value: string, binding: SecretBinding): string {
    const nonce = this.random(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.key, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(boundTo(binding));
    const sealed = Buffer.concat([cipher.update(value, "utf8"), cipher.final(), cipher.getAuthTag()]);
    return [FORM, encodeBase64url(nonce), encodeBase64url(sealed)].join(".");
  }

  /** The value; null when the key is another, or the row not the one it was sealed for. */
  open(row: SecretRow): string | null {
    const [form, nonceText = "", sealedText = "", ...more] = row.box.split(".");
    const nonce = decodeBase64url(nonceText);
    const sealed = decodeBase64url(sealedText);
    if (form !== FORM || more.length > 0 || nonce?.length !== NONCE_BYTES) return null;
    if (sealed === null || sealed.length < TAG_BYTES) return null;
    const decipher = createDecipheriv(CIPHER, this.key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(boundTo(row));
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
    try {
      const plain = Buffer.concat([decipher.update(sealed.subarray(0, -TAG_BYTES)), decipher.final()]);
      return plain.toString("utf8");
    } catch {
      return null; // final() has one complaint: the tag does not fit
    }
  }
}

const boundTo = ({ account_id, name, kinds, labels }: SecretBinding): Uint8Array =>
  Buffer.from(JSON.stringify(["agentina-secret", account_id, name, kinds, labels]));

/**
 * Opens the vault of a data directory. Its key file is made when there is none: `made` then tells that what was kept under
 * another key, of which there is no copy in a backup, must be set again. Throws CONTROL_KEY_UNUSABLE.
 */
export async function openVault(
  path: string,
  random: RandomBytes,
): Promise<{ readonly vault: SecretVault; readonly made: boolean }> {
  const file = await readPrivateFile(path, 256);
  if (!file.found && !file.missing) throw fault("CONTROL_KEY_UNUSABLE", { path, why: file.why });
  if (!file.found) {
    const key = random(KEY_BYTES);
    await writeDurably(path, `${encodeBase64url(key)}\n`);
    return { vault: new SecretVault(key, random), made: true };
  }
  const key = decodeBase64url(new TextDecoder().decode(file.bytes).trim());
  if (key?.length !== KEY_BYTES) {
    throw fault("CONTROL_KEY_UNUSABLE", { path, why: `it does not hold a key of ${KEY_BYTES} bytes` });
  }
  return { vault: new SecretVault(key, random), made: false };
}
