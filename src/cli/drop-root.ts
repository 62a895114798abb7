import { lstatSync, readFileSync } from "node:fs";
import { fault, invariant } from "../fault/fault.ts";

/** What of a process this needs; the real one is `process`. */
export interface Privileges {
  readonly geteuid?: () => number;
  readonly setgroups?: (groups: readonly number[]) => void;
  readonly setgid?: (gid: number) => void;
  readonly setuid?: (uid: number) => void;
}

/** What became of root. `nobody`: the directory is missing or root's own, there is no agent's user to become. */
export type Dropped = "not-root" | "dropped" | "nobody";

/**
 * Root never works inside an agent's directories, where the agent's user could have laid links for it: a command started
 * as root becomes the owner of the state directory for good, with that user's groups, before it reads anything there.
 * Throws STATE_DIR_NOT_DIRECTORY when something else lies at the path.
 */
export function dropRoot(stateDir: string, privileges: Privileges, groupFile = "/etc/group"): Dropped {
  if (privileges.geteuid?.() !== 0) return "not-root";
  const stat = lstatSync(stateDir, { throwIfNoEntry: false });
  if (stat === undefined) return "nobody";
  if (!stat.isDirectory()) {
    const what = stat.isSymbolicLink() ? "a symbolic link" : "a file";
    throw fault("STATE_DIR_NOT_DIRECTORY", { path: stateDir, what });
  }
  if (stat.uid === 0) return "nobody";
  privileges.setgroups?.(groupsOf(userName(stat.uid), stat.gid, groupFile));
  privileges.setgid?.(stat.gid);
  privileges.setuid?.(stat.uid);
  invariant(privileges.geteuid?.() === stat.uid, "setuid(2) gave root away");
  return "dropped";
}

/** Name of a user in passwd(5), or null. */
export function userName(uid: number, passwdFile = "/etc/passwd"): string | null {
  const row = rows(passwdFile).find((fields) => fields[2] === String(uid));
  return row?.[0] ?? null;
}

/** The groups a user is a member of by group(5), and `gid`. */
export function groupsOf(user: string | null, gid: number, groupFile: string): readonly number[] {
  const member = rows(groupFile).filter((fields) => user !== null && fields[3]?.split(",").includes(user));
  return [...new Set([gid, ...member.map((fields) => Number(fields[2]))])].filter(Number.isSafeInteger);
}

function rows(path: string): string[][] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return []; // a host without the file has no names and no extra groups
  }
  return text.split("\n").map((line) => line.split(":"));
}
