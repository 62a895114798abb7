import { lstatSync, readlinkSync } from "node:fs";
import type { SystemRoot } from "./view.ts";

const NAMES = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] as const;

/** How this host lays out its system tree: merged into /usr by links, or directories of their own (Alpine, old Debian). */
export function readSystemRoots(): readonly SystemRoot[] {
  return NAMES.flatMap((path) => {
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (!stat) return [];
    return [{ path, link: stat.isSymbolicLink() ? readlinkSync(path) : null }];
  });
}
