import { mkdir, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf, fault, reasonOf } from "../../fault/fault.ts";
import { decodeBase64url } from "../../protocol/base64url.ts";
import { parseDocument } from "../../protocol/json.ts";
import { LIMITS } from "../../protocol/limits.ts";
import { type KeyUse, type TrustDocument, TrustDocumentSchema } from "../../protocol/trust.ts";
import { readSealingKey, readSigningKey, type SealingKey, type SigningKey } from "../../trust/keys.ts";
import { readPrivateFile, syncDirectory, writeDurably } from "../data/durable-file.ts";

const PEM_BYTES = 4096;
export const SECRET_BYTES = 32;

/** Names in the directory of the keys. `root` is absent where the trust root is kept elsewhere. */
export const keyPaths = (directory: string) => ({
  trust: join(directory, "trust.json"),
  root: join(directory, "root.pem"),
  enrol: join(directory, "enrol.pem"),
  bearer: join(directory, "bearer.key"),
  /** Every key set there was, by number. */
  sets: join(directory, "sets"),
  of: (use: KeyUse, kid: string) => join(directory, `${use}-${kid}.pem`),
});

const SIGNING_KEY = /^(?:job|order|license)-([A-Za-z0-9_-]{43})\.pem$/;

/** Every function here throws CONTROL_KEY_UNUSABLE naming the file. */
export async function readTrustDocument(path: string): Promise<TrustDocument> {
  const parsed = parseDocument(await bytesAt(path, LIMITS.TRUST_DOCUMENT_BYTES), TrustDocumentSchema);
  if (parsed.ok) return parsed.value;
  throw fault("CONTROL_KEY_UNUSABLE", { path, why: `${parsed.path}: ${parsed.why}` });
}

export async function readSecret(path: string): Promise<Uint8Array> {
  const secret = decodeBase64url(new TextDecoder().decode(await bytesAt(path, 256)).trim());
  if (secret?.length === SECRET_BYTES) return secret;
  throw fault("CONTROL_KEY_UNUSABLE", { path, why: `it does not hold ${SECRET_BYTES} bytes` });
}

export const signingKeyAt = (path: string): Promise<SigningKey> =>
  asKeyFault(path, async () => await readSigningKey(await pemAt(path), path));

export const sealingKeyAt = (path: string): Promise<SealingKey> =>
  asKeyFault(path, async () => await readSealingKey(await pemAt(path), path));

/** The same, null when there is no such file. */
export async function signingKeyIfThere(path: string): Promise<SigningKey | null> {
  return (await exists(path)) ? await signingKeyAt(path) : null;
}

/** Keeps a key set for good, before it is published. */
export async function writeHistory(directory: string, seq: number, document: TrustDocument): Promise<void> {
  const { sets } = keyPaths(directory);
  await mkdir(sets, { recursive: true, mode: 0o700 });
  await writeDurably(join(sets, `${seq}.json`), JSON.stringify(document));
}

/** Every key set there was, the oldest first. */
export async function readHistory(directory: string): Promise<TrustDocument[]> {
  const { sets } = keyPaths(directory);
  if (!(await exists(sets))) return [];
  const numbers = (await readdir(sets)).flatMap((name) => /^(\d{1,10})\.json$/.exec(name)?.[1] ?? []);
  const sorted = numbers.toSorted((a, b) => Number(a) - Number(b));
  return await Promise.all(sorted.map((number) => readTrustDocument(join(sets, `${number}.json`))));
}

/** Writes a private key of the key set, before anything names it. */
export const writeSigningKey = (directory: string, use: KeyUse, kid: string, pem: string): Promise<void> =>
  writeDurably(keyPaths(directory).of(use, kid), pem);

/** Removes the private halves of signing keys that are none of these. */
export async function pruneSigningKeys(directory: string, kept: ReadonlySet<string>): Promise<void> {
  const gone = (await readdir(directory)).filter((name) => {
    const kid = SIGNING_KEY.exec(name)?.[1];
    return kid !== undefined && !kept.has(kid);
  });
  for (const name of gone) await rm(join(directory, name));
  if (gone.length > 0) await syncDirectory(directory);
}

export async function exists(path: string): Promise<boolean> {
  try {
    await (await open(path, "r")).close();
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw fault("CONTROL_KEY_UNUSABLE", { path, why: reasonOf(error) }, error);
  }
}

const pemAt = async (path: string): Promise<string> =>
  new TextDecoder().decode(await bytesAt(path, PEM_BYTES));

async function bytesAt(path: string, maxBytes: number): Promise<Uint8Array> {
  const file = await readPrivateFile(path, maxBytes);
  if (file.found) return file.bytes;
  throw fault("CONTROL_KEY_UNUSABLE", { path, why: file.why });
}

async function asKeyFault<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fault("CONTROL_KEY_UNUSABLE", { path, why: reasonOf(error) }, error);
  }
}
