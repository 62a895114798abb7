import { createHash } from "node:crypto";
import { closeSync, fsyncSync, openSync, rmSync, writeSync } from "node:fs";
import { fault, isFault, reasonOf } from "../fault/fault.ts";
import type { BlobRef } from "../protocol/job.ts";
import { ROUTES } from "../protocol/wire.ts";
import type { Session } from "./session.ts";
import type { OpenStream } from "./transport.ts";

/** Fetches the inputs a signed job names; every byte is counted and hashed before the file counts as there. */
export const blobFetcher =
  (session: Session, url: string, openStream: OpenStream) =>
  async (blob: BlobRef, path: string, signal: AbortSignal): Promise<void> => {
    const route = ROUTES.blob(blob.sha256);
    try {
      const headers = await session.authorize("GET", route);
      const target = new URL(route, url).href;
      await receive(
        await openStream({ url: target, accept: "application/octet-stream", headers, signal }),
        blob,
        path,
      );
    } catch (error) {
      rmSync(path, { force: true });
      if (isFault(error)) throw error;
      throw fault("BLOB_UNAVAILABLE", { name: blob.name, why: reasonOf(error) }, error);
    }
  };

async function receive(stream: ReadableStream<Uint8Array>, blob: BlobRef, path: string): Promise<void> {
  const hash = createHash("sha256");
  const fd = openSync(path, "wx", 0o400);
  let size = 0;
  try {
    for await (const chunk of stream) {
      size += chunk.length;
      if (size > blob.size) throw fault("BLOB_MISMATCH", { name: blob.name });
      hash.update(chunk);
      let written = 0;
      while (written < chunk.length) written += writeSync(fd, chunk, written);
    }
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  if (size !== blob.size || hash.digest("hex") !== blob.sha256)
    throw fault("BLOB_MISMATCH", { name: blob.name });
}
