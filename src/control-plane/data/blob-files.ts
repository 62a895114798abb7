import { createHash, randomBytes } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parse } from "valibot";
import { fault } from "../../fault/fault.ts";
import { type AccountId, type Sha256, Sha256Schema } from "../../protocol/ids.ts";
import { CREATE, syncDirectory } from "./durable-file.ts";

/** Blobs on disk, one directory an account: a digest proves what bytes are, it never gives access to them. */
export class BlobFiles {
  private readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  pathOf(account: AccountId, sha256: Sha256): string {
    return join(this.root, account, sha256);
  }

  /**
   * Takes a stream to disk and keeps it if it is at most `maxBytes` long and is what `sha256` says; fsynced under its
   * name before this resolves. Throws API_BODY_OVERSIZED or API_BODY_MALFORMED and leaves nothing then.
   */
  async receive(
    account: AccountId,
    sha256: Sha256,
    body: AsyncIterable<Uint8Array>,
    maxBytes: number,
  ): Promise<{ size: number }> {
    const path = this.pathOf(account, sha256);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
    try {
      const { size, found } = await takeDown(temporary, body, maxBytes);
      if (found !== sha256) {
        throw fault("API_BODY_MALFORMED", { path: "(body)", why: `its SHA-256 is ${found}` });
      }
      await rename(temporary, path);
      await syncDirectory(dirname(path));
      return { size };
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }
}

async function takeDown(path: string, body: AsyncIterable<Uint8Array>, maxBytes: number) {
  const hash = createHash("sha256");
  const file = await open(path, CREATE, 0o600);
  let size = 0;
  try {
    for await (const chunk of body) {
      size += chunk.length;
      if (size > maxBytes) throw fault("API_BODY_OVERSIZED", { limit: maxBytes });
      hash.update(chunk);
      await file.writeFile(chunk);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return { size, found: parse(Sha256Schema, hash.digest("hex")) };
}
