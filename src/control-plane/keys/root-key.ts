import { errnoOf, fault, reasonOf } from "../../fault/fault.ts";
import { makeSigningKey, readSigningKey, type SigningKey } from "../../trust/keys.ts";
import { readPrivateFile } from "../data/durable-file.ts";
import { makeNewFile } from "../data/new-file.ts";

const PEM_BYTES = 4096;

/** Reads the trust root's key from a private file. Throws ROOT_KEY_UNUSABLE. */
export async function readRootKey(path: string): Promise<SigningKey> {
  const file = await readPrivateFile(path, PEM_BYTES);
  if (!file.found) throw fault("ROOT_KEY_UNUSABLE", { path, why: file.why });
  try {
    return await readSigningKey(new TextDecoder().decode(file.bytes), path);
  } catch (error) {
    throw fault("ROOT_KEY_UNUSABLE", { path, why: reasonOf(error) }, error);
  }
}

/** The key in the file, which is made (0600) unless it is there. Throws ROOT_KEY_UNUSABLE, OUTPUT_UNWRITABLE. */
export async function rootKeyIn(path: string): Promise<{ key: SigningKey; made: boolean }> {
  const file = await readPrivateFile(path, PEM_BYTES);
  if (file.found || !file.missing) return { key: await readRootKey(path), made: false };
  const { key, pem } = await makeSigningKey();
  try {
    await makeNewFile(path, (made) => made.write(pem));
  } catch (error) {
    if (errnoOf(error) === "") throw error;
    throw fault("ROOT_KEY_UNUSABLE", { path, why: reasonOf(error) }, error);
  }
  return { key, made: true };
}
