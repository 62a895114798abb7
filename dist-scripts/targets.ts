// The machines a build can be for, and the runtime each one is built upon.

import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { capture } from "./command.ts";

/** The runtime package of each target, as package-lock.json pins it. */
const RUNTIME_PACKAGE = {
  "linux-x64": "@oven/bun-linux-x64",
  "linux-x64-musl": "@oven/bun-linux-x64-musl",
  "linux-arm64": "@oven/bun-linux-aarch64",
  "linux-arm64-musl": "@oven/bun-linux-aarch64-musl",
} as const;

export type Target = keyof typeof RUNTIME_PACKAGE;

export const TARGETS = Object.keys(RUNTIME_PACKAGE) as readonly Target[];

export function isTarget(text: string): text is Target {
  return Object.hasOwn(RUNTIME_PACKAGE, text);
}

/** The target of the machine this runs on. Only Linux is built for. */
export function hostTarget(): Target {
  const base = `linux-${process.arch}`;
  const musl = `${base}-musl`;
  if (process.platform !== "linux" || !isTarget(base) || !isTarget(musl)) {
    throw new Error(`Cannot build for this machine: it is ${process.platform}-${process.arch}, not Linux`);
  }
  return isForMusl(process.execPath) ? musl : base;
}

/** Which C library an executable is linked for: its ELF interpreter is named on its first page. */
function isForMusl(executable: string): boolean {
  const page = Buffer.alloc(4096);
  const file = openSync(executable, "r");
  try {
    readSync(file, page);
  } finally {
    closeSync(file);
  }
  return page.includes("/lib/ld-musl-");
}

/**
 * The Bun executable for `target`, fetched once by Bun's own installer against the hash in
 * package-lock.json and kept under node_modules; without network thereafter.
 */
export async function runtimeFor(target: Target, root: string): Promise<string> {
  const name = RUNTIME_PACKAGE[target];
  const locked = (await Bun.file(join(root, "package-lock.json")).json()).packages[`node_modules/${name}`];
  const store = join(root, "node_modules", ".agentina-runtimes");
  const kept = join(store, `${target}-${locked.version}`);
  if (existsSync(kept)) return kept;

  await mkdir(store, { recursive: true });
  const fresh = await mkdtemp(join(store, "fetch-"));
  try {
    await writeLock(fresh, name, locked);
    fetchLocked(fresh, target);
    await rename(join(fresh, "node_modules", name, "bin", "bun"), kept);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  return kept;
}

async function writeLock(directory: string, name: string, locked: { version: string; integrity: string }) {
  const { version, integrity } = locked;
  const project = { name: "agentina-runtime", dependencies: { [name]: version } };
  const lock = {
    ...project,
    lockfileVersion: 3,
    packages: { "": project, [`node_modules/${name}`]: { version, integrity } },
  };
  await Bun.write(join(directory, "package.json"), JSON.stringify(project));
  await Bun.write(join(directory, "package-lock.json"), JSON.stringify(lock));
}

function fetchLocked(directory: string, target: Target): void {
  // A package in Bun's shared cache is taken without looking at its hash: an empty cache makes it look.
  const cache = join(directory, ".cache");
  const { status, stderr } = capture([process.execPath, "ci", "--ignore-scripts", "--cache-dir", cache], {
    cwd: directory,
  });
  if (status !== 0) throw new Error(`Cannot fetch the runtime for ${target}:\n${stderr.trim()}`);
}
