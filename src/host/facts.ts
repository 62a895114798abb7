import { statfsSync } from "node:fs";
import { hostname } from "node:os";
import { printable } from "../fault/fault.ts";
import { textOf } from "./read-small.ts";

/** Bytes there are, and bytes an unprivileged process could still have. */
export interface Amount {
  readonly total: number;
  readonly available: number;
}

const HOSTNAME_CHARS_MAX = 255;

/** The host's name as the kernel has it, without anything a terminal would act on. */
export const hostName = (): string => printable(hostname()).slice(0, HOSTNAME_CHARS_MAX);

/** One-minute load average; 0 where the kernel does not say. */
export function loadAverage(): number {
  const load = Number.parseFloat(textOf("/proc/loadavg", 128) ?? "");
  return Number.isFinite(load) && load >= 0 ? load : 0;
}

/** RAM in bytes; available as the kernel estimates it without swapping (MemAvailable, proc_meminfo(5)). */
export function memory(): Amount {
  return parseMemory(textOf("/proc/meminfo", 8192) ?? "");
}

/** Reads /proc/meminfo's text; 0 for a line that is not there. */
export function parseMemory(meminfo: string): Amount {
  const bytes = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(meminfo)?.[1] ?? 0) * 1024;
  return { total: bytes("MemTotal"), available: bytes("MemAvailable") };
}

/** Space on the file system of `path` in bytes (statfs(2)); zeros while it cannot be asked. */
export function disk(path: string): Amount {
  try {
    const { bsize, blocks, bavail } = statfsSync(path);
    return { total: blocks * bsize, available: bavail * bsize };
  } catch {
    return { total: 0, available: 0 }; // not there yet; whoever writes there hears the reason
  }
}

/** Random id of this boot (random(4)); empty where /proc does not have it. */
export const bootId = (): string => (textOf("/proc/sys/kernel/random/boot_id", 64) ?? "").slice(0, 64);

/**
 * CLOCK_BOOTTIME in milliseconds, counting time suspended: the first number of /proc/uptime (proc_uptime(5)), which has
 * a resolution of 10 ms. Throws where there is no /proc.
 */
export function bootMs(): number {
  const seconds = Number.parseFloat(textOf("/proc/uptime", 64) ?? "");
  if (!Number.isFinite(seconds)) throw new Error("/proc/uptime cannot be read");
  return Math.round(seconds * 1000);
}
