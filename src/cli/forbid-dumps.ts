import { dlopen } from "bun:ffi";
import { fault } from "../fault/fault.ts";

const PR_SET_DUMPABLE = 4;
const OPTION = "PR_SET_DUMPABLE 0";

/**
 * Makes this process undumpable (prctl(2)): no core file holds its keys, and no process of the same user can attach to
 * it or read its memory and environment through /proc. Throws CLI_NOT_HARDENED when the C library cannot be asked.
 */
export function forbidDumps(): void {
  const musl = `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`;
  const prctl = load("libc.so.6") ?? load(musl);
  if (prctl === null || prctl(PR_SET_DUMPABLE, 0n, 0n, 0n, 0n) !== 0) {
    throw fault("CLI_NOT_HARDENED", { option: OPTION });
  }
}

function load(library: string) {
  try {
    const signature = { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" } as const;
    return dlopen(library, { prctl: signature }).symbols.prctl;
  } catch {
    return null; // the other C library, then; without either the caller refuses
  }
}
