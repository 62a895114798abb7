// The checkout's development key: what signs local builds, and what development builds trust.

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomUUID,
} from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, link, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

export interface SigningKey {
  readonly privateKey: KeyObject;
  /** SubjectPublicKeyInfo as PEM. */
  readonly publicKeyPem: string;
}

/** Reads the key of the checkout at `root`, making it at the first call: ECDSA P-256, mode 0600. */
export async function developmentKey(root: string): Promise<SigningKey> {
  const directory = join(root, ".agentina-dev");
  try {
    return await readOrMakeKey(directory);
  } catch (error) {
    throw new Error(
      `Cannot use the development key in "${directory}": ${error instanceof Error ? error.message : error}\n` +
        "Build as the user who owns it, or remove the directory to have a new key made.",
      { cause: error },
    );
  }
}

async function readOrMakeKey(directory: string): Promise<SigningKey> {
  const file = join(directory, "signing-key.pem");
  if (!existsSync(file)) await makeKey(directory, file);
  const privateKey = createPrivateKey(await Bun.file(file).text());
  const publicKeyPem = createPublicKey(privateKey).export({ type: "spki", format: "pem" }).toString();
  const publicFile = Bun.file(join(directory, "signing-key.pub.pem"));
  if (!(await publicFile.exists())) await publicFile.write(publicKeyPem);
  return { privateKey, publicKeyPem };
}

async function makeKey(directory: string, file: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const fresh = `${file}.${randomUUID()}`;
  try {
    await writeFile(fresh, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600, flag: "wx" });
    // A link never replaces: of two builds started at once, both go on with the same key.
    await link(fresh, file).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(fresh, { force: true });
  }
}
