import { constants, readlinkSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errnoOf, fault, reasonOf } from "../fault/fault.ts";
import { BUNDLE_BYTES_MAX, verifyBundle } from "../trust/bundle.ts";
import { RELEASE_KEYS } from "./pinned-keys.ts";

/** `verified` under a release key, `development` under the key of the checkout that built it, else `unverified`. */
export interface BundleCheck {
  readonly verdict: "verified" | "development" | "unverified";
  /** Why it is unverified; null otherwise. */
  readonly why: string | null;
}

export interface SelfCheckInput {
  /** False for a run from sources, which has no binary of its own to check. */
  readonly compiled: boolean;
  /** SPKI PEM of the development key built in, or null. */
  readonly devKeyPem: string | null;
  readonly releaseKeys?: readonly string[];
  /** The running executable as the kernel knows it: reading it reads the running inode, whatever lies at its path now. */
  readonly exe?: string;
}

const BUNDLE_NAME = "agentina.sigstore.json";
const CHUNK_BYTES = 1_048_576;

/**
 * Holds the running binary against the bundle beside it. A missing bundle makes it unverified; one that is there and
 * does not fit throws RELEASE_TAMPERED. Reads the whole binary: about a fifth of a second.
 */
export async function checkOwnBundle(input: SelfCheckInput): Promise<BundleCheck> {
  const unverified = (why: string): BundleCheck => ({ verdict: "unverified", why });
  if (!input.compiled) return unverified("it runs from sources");
  const exe = input.exe ?? "/proc/self/exe";
  let beside: string;
  let bundle: Uint8Array;
  try {
    beside = join(dirname(readlinkSync(exe)), BUNDLE_NAME);
    bundle = await readUpTo(beside, BUNDLE_BYTES_MAX + 1);
  } catch (error) {
    const missing = errnoOf(error) === "ENOENT";
    return unverified(missing ? `there is no "${BUNDLE_NAME}" beside it` : reasonOf(error));
  }
  const keys = [
    ...(input.releaseKeys ?? RELEASE_KEYS),
    ...(input.devKeyPem === null ? [] : [input.devKeyPem]),
  ];
  await using file = await open(exe);
  const verdict = await verifyBundle(chunksOf(file), bundle, keys);
  if (!verdict.ok) throw fault("RELEASE_TAMPERED", { why: `"${beside}": ${verdict.why}` });
  return { verdict: verdict.signer === input.devKeyPem ? "development" : "verified", why: null };
}

/** One buffer for all: a chunk is good until the next is asked for. */
async function* chunksOf(file: FileHandle): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let position = 0; ; ) {
    const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, position);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
    position += bytesRead;
  }
}

async function readUpTo(path: string, bytes: number): Promise<Uint8Array> {
  // Without O_NONBLOCK a FIFO laid there would hold the start for ever.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, 0);
  return buffer.subarray(0, bytesRead);
}
