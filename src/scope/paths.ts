/** The workspace as it is spelt in a scope; inside the sandbox it is `WORKSPACE_DIR`. */
export const WORKSPACE = "./";
export const WORKSPACE_DIR = "/work";
export const HOME_DIR = "/home/job";

const GLOB = /[*?[\]{}\\]/;

/**
 * What is wrong with an absolute path of a scope or a policy, or null. One place has one spelling: no `.` or `..`,
 * no doubled or trailing slash, no glob characters, no white space at an end.
 */
export function absolutePathProblem(path: string): string | null {
  if (!path.startsWith("/")) return "is not absolute";
  if (path === "/") return null;
  if (path.endsWith("/")) return "ends with a slash";
  return partsProblem(path.slice(1), path);
}

/** What is wrong with an entry of scope.files, or null: `./`, `./part/of/workspace`, or an absolute path. */
export function entryProblem(entry: string): string | null {
  if (entry === WORKSPACE) return null;
  if (entry.startsWith(WORKSPACE)) {
    return entry.endsWith("/") ? "ends with a slash" : partsProblem(entry.slice(2), entry);
  }
  return entry.startsWith("/") ? absolutePathProblem(entry) : 'is neither absolute nor "./"';
}

function partsProblem(tail: string, whole: string): string | null {
  if (whole !== whole.trim()) return "begins or ends with white space";
  if (GLOB.test(whole)) return "holds a glob character or a backslash";
  for (const part of tail.split("/")) {
    if (part === "") return "holds a doubled slash";
    if (part === "." || part === "..") return `holds "${part}"`;
  }
  return null;
}

/** True for an entry inside the workspace (`./…`). */
export const isWorkspaceEntry = (entry: string): boolean => entry.startsWith(WORKSPACE);

/** True when `path` is `root` or lies below it. Both well-formed and absolute. */
export const covers = (root: string, path: string): boolean =>
  root === "/" || path === root || path.startsWith(`${root}/`);

/** Never given to a job, and nothing below them: the kernel's trees, root's, and names the sandbox uses itself. */
const FORBIDDEN_TREES = [
  "/proc",
  "/sys",
  "/dev",
  "/run",
  "/var/run",
  "/boot",
  "/root",
  "/lost+found",
  WORKSPACE_DIR,
  HOME_DIR,
] as const;

/** Never given whole; a directory below may be, when the policy names it. */
const FORBIDDEN_WHOLE = [
  "/",
  "/bin",
  "/etc",
  "/home",
  "/lib",
  "/lib32",
  "/lib64",
  "/libx32",
  "/media",
  "/mnt",
  "/opt",
  "/sbin",
  "/srv",
  "/tmp",
  "/usr",
  "/usr/local",
  "/var",
  "/var/cache",
  "/var/lib",
  "/var/log",
  "/var/spool",
  "/var/tmp",
] as const;

/** Never writable: programs and configuration other users of the host rely on. */
const FORBIDDEN_WRITE_TREES = [
  "/bin",
  "/etc",
  "/lib",
  "/lib32",
  "/lib64",
  "/libx32",
  "/sbin",
  "/usr",
] as const;

/**
 * The root because of which an absolute path is never given to a job, or null. `own` are the agent's own directories:
 * neither they, nor anything in them, nor anything that holds them.
 */
export function forbiddenRoot(path: string, list: "read" | "write", own: readonly string[]): string | null {
  for (const root of FORBIDDEN_TREES) if (covers(root, path)) return root;
  for (const root of FORBIDDEN_WHOLE) if (path === root) return root;
  if (list === "write") for (const root of FORBIDDEN_WRITE_TREES) if (covers(root, path)) return root;
  for (const root of own) if (covers(root, path) || covers(path, root)) return root;
  return null;
}
