import { lstatSync, type Stats } from "node:fs";
import { dirname } from "node:path";
import { errnoOf, fault, reasonOf } from "../fault/fault.ts";
import type { Sha256 } from "../protocol/ids.ts";
import { type Policy, parsePolicy } from "../scope/policy.ts";
import { sha256Of } from "../trust/strict-jws.ts";
import type { Directories } from "./directories.ts";
import { readSmallFile } from "./durable-file.ts";

const POLICY_BYTES_MAX = 262_144;

/** The operator's policy as this process read it. `self`: named by hand and owned by the agent's own user. */
export interface LoadedPolicy {
  readonly policy: Policy;
  readonly sha256: Sha256;
  readonly owner: "root" | "self";
}

/**
 * Reads the policy, or null when there is none (then no job runs). A policy that cannot be read, does not parse, or that
 * somebody but its owner could change is a fault and stops the agent: it must never fail open.
 */
export function loadPolicy(dirs: Directories, uid: number): LoadedPolicy | null {
  const path = dirs.policyPath;
  const stat = statOf(path);
  if (stat === null) return null;
  const owner = ownerOf(path, stat, dirs.policyNamed, uid);
  const bytes = readSmallFile(path, POLICY_BYTES_MAX);
  if (bytes === null) return null;
  const parsed = parsePolicy(Buffer.from(bytes).toString("utf8"));
  if (!parsed.ok) throw fault("POLICY_MALFORMED", { path, why: parsed.why });
  return { policy: parsed.policy, sha256: sha256Of(bytes), owner };
}

function statOf(path: string): Stats | null {
  try {
    return lstatSync(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null;
    throw fault("POLICY_UNREADABLE", { path, why: reasonOf(error) }, error);
  }
}

/** Root's file under root's directories; or, for a policy named by hand, a file of the agent's own user. */
function ownerOf(path: string, stat: Stats, named: boolean, uid: number): "root" | "self" {
  if (!stat.isFile()) throw fault("POLICY_WRITABLE", { path, why: "it is not a regular file" });
  if ((stat.mode & 0o022) !== 0)
    throw fault("POLICY_WRITABLE", { path, why: "its mode lets others write it" });
  if (stat.uid === uid && named) return "self";
  if (stat.uid !== 0) {
    throw fault("POLICY_WRITABLE", { path, why: `it belongs to uid ${stat.uid}, not to root` });
  }
  const open = openAncestor(dirname(path));
  if (open === null) return "root";
  if (named) return "self"; // root's file in a place others may change: no more than the user's own word
  throw fault("POLICY_WRITABLE", { path, why: `"${open}" can be changed by others than root` });
}

/** The nearest directory above that somebody but root may change, or null. */
function openAncestor(start: string): string | null {
  for (let path = start; ; path = dirname(path)) {
    const stat = lstatSync(path);
    const shared = (stat.mode & 0o022) !== 0 && (stat.mode & 0o1000) === 0;
    if (stat.uid !== 0 || shared) return path;
    if (path === "/") return null;
  }
}
