import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, type Stats } from "node:fs";
import { join } from "node:path";
import { errnoOf, printable, reasonOf } from "../fault/fault.ts";
import type { Sha256 } from "../protocol/ids.ts";
import { LIMITS } from "../protocol/limits.ts";
import { SEALED_NAMES, type SealedName } from "../trust/seal.ts";
import { sha256Of } from "../trust/strict-jws.ts";
import { readAll } from "./durable-file.ts";

export type SealCode =
  | "SEAL_MODIFIED"
  | "SEAL_MISSING"
  | "SEAL_UNEXPECTED"
  | "SEAL_FOREIGN"
  | "SEAL_SYMLINK"
  | "SEAL_OPEN"
  | "SEAL_ABSENT"
  | "SEAL_INVALID"
  | "JOURNAL_ALTERED";

/** Something wrong with one file of the state directory. */
export interface SealFinding {
  readonly code: SealCode;
  /** Path below the state directory, escaped: no control characters, at most 255 characters. */
  readonly name: string;
  /** Completes "the state file … is". */
  readonly what: string;
}

type Complaint = Pick<SealFinding, "code" | "what">;

/** One file as it lies there: what it holds, and what is wrong with it whatever it holds. */
export type Look =
  | { readonly state: "absent" }
  /** Without a complaint of its own when the directory it lies in is the trouble. */
  | { readonly state: "unusable"; readonly complaint: Complaint | null }
  | { readonly state: "read"; readonly bytes: Uint8Array; readonly complaint: Complaint | null };

/** A state directory as it lies there. */
export interface Scan {
  readonly sealed: Readonly<Record<SealedName, Look & { readonly sha256: Sha256 | null }>>;
  /** What is wrong with everything a seal does not speak for. */
  readonly strays: readonly SealFinding[];
}

export const SEAL_NAME = "seal.jws";
/** The seal under a new identity key, while that key is not in use yet. */
export const NEXT_SEAL_NAME = "seal.next.jws";

/** More than any sealed file may hold; a larger one is not read. */
const FILE_BYTES = LIMITS.TRUST_DOCUMENT_BYTES * 2;
const NAME_CHARS = 255;
const OTHERS_WRITE = 0o022;
const OTHERS_ANY = 0o077;

/** Files nobody else may read, let alone write. */
const PRIVATE = /^(keypair\/.*|license\.jwt|bearer\.json|journal\.db(-wal|-shm|-journal)?)$/;
const JOURNAL_FILES = /^journal\.db(-wal|-shm|-journal)?$/;
/** Written whole, and not sealed: they change all the time, or come and go with an activation. */
const UNSEALED_FILES = /^(bearer\.json|healthy|seal\.next\.jws|keypair\/(identity|sealing)\.next\.pem)$/;
const DIRECTORIES: readonly string[] = ["keypair", "work", "cache", "lost+found"];
/** The file system's own, and root's. */
const NOT_OURS = "lost+found";

/**
 * Looks at every file of a state directory without following a link, and reads the sealed ones. Never throws, whatever
 * lies there: pipes, devices, directories in a file's place, sparse giants, names that are no text.
 */
export function scanState(stateDir: string, uid: number): Scan {
  const strays: SealFinding[] = [];
  const keypair = directoryComplaint(stateDir, "keypair", uid);
  if (keypair !== null) strays.push({ name: "keypair", ...keypair });
  const enterable = keypair === null || keypair.code === "SEAL_FOREIGN" || keypair.code === "SEAL_OPEN";
  const sealed = Object.fromEntries(
    SEALED_NAMES.map((name) => {
      const hidden = name.startsWith("keypair/") && !enterable;
      const look: Look = hidden ? { state: "unusable", complaint: null } : lookAt(stateDir, name, uid);
      return [name, { ...look, sha256: look.state === "read" ? sha256Of(look.bytes) : null }];
    }),
  ) as Record<SealedName, Look & { readonly sha256: Sha256 | null }>;
  strays.push(...straysIn(stateDir, "", uid));
  if (enterable) strays.push(...straysIn(stateDir, "keypair/", uid));
  return { sealed, strays };
}

/** Looks at one small regular file, opening nothing else. */
export function lookAt(stateDir: string, name: string, uid: number): Look {
  const path = join(stateDir, name);
  let fd = -1;
  try {
    // Opening a pipe or a device may do something; looking at its name does not.
    const named = kindComplaint(lstatSync(path));
    if (named !== null) return { state: "unusable", complaint: named };
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stat = fstatSync(fd);
    const complaint = kindComplaint(stat) ?? sizeComplaint(stat);
    if (complaint !== null) return { state: "unusable", complaint };
    return { state: "read", bytes: readAll(fd, stat.size), complaint: accessComplaint(stat, name, uid) };
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return { state: "absent" };
    const code = errnoOf(error) === "ELOOP" ? "SEAL_SYMLINK" : "SEAL_MODIFIED";
    return {
      state: "unusable",
      complaint: { code, what: `unreadable (${errnoOf(error) || reasonOf(error)})` },
    };
  } finally {
    if (fd !== -1) closeSync(fd);
  }
}

function kindComplaint(stat: Stats): Complaint | null {
  if (stat.isFile()) return null;
  return { code: "SEAL_SYMLINK", what: `${kindOf(stat)}, not a regular file` };
}

function kindOf(stat: Stats): string {
  if (stat.isSymbolicLink()) return "a symbolic link";
  if (stat.isDirectory()) return "a directory";
  if (stat.isFIFO()) return "a pipe";
  if (stat.isSocket()) return "a socket";
  return stat.isFile() ? "a file" : "a device";
}

const sizeComplaint = (stat: Stats): Complaint | null =>
  stat.size <= FILE_BYTES ? null : { code: "SEAL_MODIFIED", what: `larger than ${FILE_BYTES} bytes` };

function accessComplaint(stat: Stats, name: string, uid: number): Complaint | null {
  if (stat.uid !== uid) return { code: "SEAL_FOREIGN", what: `owned by uid ${stat.uid}` };
  const shut = PRIVATE.test(name) || name === "keypair" ? OTHERS_ANY : OTHERS_WRITE;
  if ((stat.mode & shut) === 0) return null;
  const mode = (stat.mode & 0o7777).toString(8).padStart(4, "0");
  return { code: "SEAL_OPEN", what: `open to others (mode ${mode})` };
}

function directoryComplaint(stateDir: string, name: string, uid: number): Complaint | null {
  try {
    const stat = lstatSync(join(stateDir, name));
    if (!stat.isDirectory()) return { code: "SEAL_SYMLINK", what: `${kindOf(stat)}, not a directory` };
    return name === NOT_OURS ? null : accessComplaint(stat, name, uid);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return { code: "SEAL_MISSING", what: "missing" };
    return { code: "SEAL_MODIFIED", what: `unreadable (${errnoOf(error) || reasonOf(error)})` };
  }
}

/** What is wrong in one directory with what no seal speaks for. `below` is "" or the directory's name with a slash. */
function straysIn(stateDir: string, below: "" | "keypair/", uid: number): SealFinding[] {
  let entries: Buffer[];
  try {
    entries = readdirSync(join(stateDir, below), { encoding: "buffer" });
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return [];
    const what = `unreadable (${errnoOf(error) || reasonOf(error)})`;
    return [{ code: "SEAL_MODIFIED", name: below === "" ? "." : "keypair", what }];
  }
  const findings: SealFinding[] = [];
  for (const entry of entries.sort(Buffer.compare)) {
    const complaint = strayComplaint(stateDir, below, entry, uid);
    if (complaint !== null) findings.push({ name: shown(below, entry), ...complaint });
    if (findings.length > LIMITS.SEAL_FINDINGS) break; // more than anybody is told
  }
  return findings;
}

function strayComplaint(stateDir: string, below: string, entry: Buffer, uid: number): Complaint | null {
  const name = `${below}${entry.toString("latin1")}`;
  if (isSealed(name) || name === SEAL_NAME || name === "keypair") return null; // looked at by themselves
  if (DIRECTORIES.includes(name)) return directoryComplaint(stateDir, name, uid);
  const own = UNSEALED_FILES.test(name) || JOURNAL_FILES.test(name) || isTemporary(name);
  if (!own) return { code: "SEAL_UNEXPECTED", what: "not one of the agent's" };
  try {
    const stat = lstatSync(join(stateDir, name));
    return kindComplaint(stat) ?? accessComplaint(stat, name, uid);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null; // renamed into its place in the meantime
    return { code: "SEAL_MODIFIED", what: `unreadable (${errnoOf(error) || reasonOf(error)})` };
  }
}

const isSealed = (name: string): name is SealedName => (SEALED_NAMES as readonly string[]).includes(name);

/** What a durable write of our own leaves beside a file when it is cut. */
function isTemporary(name: string): boolean {
  if (!name.endsWith(".tmp")) return false;
  const meant = name.slice(0, -".tmp".length);
  return isSealed(meant) || meant === SEAL_NAME || UNSEALED_FILES.test(meant);
}

/** A name anybody's terminal may show: as text where it is text, else its bytes. */
function shown(below: string, entry: Buffer): string {
  const text = entry.toString("utf8");
  const name = Buffer.from(text).equals(entry)
    ? printable(text)
    : entry
        .toString("latin1")
        .replace(/[^\x20-\x7e]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, "0")}`);
  const whole = `${below}${name}`;
  return whole.length <= NAME_CHARS ? whole : `${whole.slice(0, NAME_CHARS - 1)}…`;
}
