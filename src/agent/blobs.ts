import { createHash } from "node:crypto";
import { closeSync, fsyncSync, openSync, rmSync, writeSync } from "node:fs";
import { fault, isFault, reasonOf } from "../fault/fault.ts";
import type { BlobRef } from "../protocol/job.ts";
import { ROUTES } from "../protocol/wire.ts";
import { systemTimers, type Timers } from "./clock.ts";
import type { Session } from "./session.ts";
import { Silence } from "./silence.ts";
import type { OpenStream } from "./transport.ts";

/** Silence after which a transfer counts as dead. */
const SILENCE_MS = 30_000;

/** Fetches the inputs a signed job names; every byte is counted and hashed before the file counts as there. */
export const blobFetcher =
  (session: Session, url: string, openStream: OpenStream, timers: Timers = systemTimers) =>
  async (blob: BlobRef, path: string, outer: AbortSignal): Promise<void> => {
    const route = ROUTES.blob(blob.sha256);
    const silence = new Silence(timers, SILENCE_MS);
    const signal = AbortSignal.any([outer, silence.signal]);
    try {
      const headers = await session.authorize("GET", route, signal);
      const target = new URL(route, url).href;
      const stream = await openStream({ url: target, accept: "application/octet-stream", headers, signal });
      await receive(stream, blob, path, () => silence.broken());
    } catch (error) {
      rmSync(path, { force: true });
      if (silence.signal.aborted) {
        const why = `nothing came for ${SILENCE_MS / 1000} s`;
        throw fault("BLOB_UNAVAILABLE", { name: blob.name, why }, error);
      }
      if (!isFault(error)) throw fault("BLOB_UNAVAILABLE", { name: blob.name, why: reasonOf(error) }, error);
      session.learn(error);
      throw error;
    } finally {
      silence.end();
    }
  };

async function receive(
  stream: ReadableStream<Uint8Array>,
  blob: BlobRef,
  path: string,
  heard: () => void,
): Promise<void> {
  const hash = createHash("sha256");
  const fd = openSync(path, "wx", 0o400);
  let size = 0;
  try {
    for await (const chunk of stream) {
      heard();
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
  if (size < blob.size) {
    throw fault("BLOB_UNAVAILABLE", { name: blob.name, why: `it ended after ${size} of ${blob.size} bytes` });
  }
  if (hash.digest("hex") !== blob.sha256) throw fault("BLOB_MISMATCH", { name: blob.name });
}
