import { dlopen, ptr, read } from "bun:ffi";
import { writeSync } from "node:fs";
import { invariant } from "../fault/fault.ts";

/*
 * The few Linux calls that neither Bun nor node:fs offers. Syscall numbers and structures are those that x86-64 and
 * arm64 share. Every descriptor made here is close-on-exec: children get theirs by name, in their stdio list.
 */

const SYS_PIDFD_SEND_SIGNAL = 424;
const SYS_PIDFD_OPEN = 434;
const SYS_OPENAT2 = 437;

const O_CLOEXEC = 0o2000000;
const O_NOFOLLOW = 0o400000;
const O_NONBLOCK = 0o4000;
const MFD_CLOEXEC = 1;
const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;
const POLLIN = 1;
const SIGKILL = 9;
const ENOENT = 2;
const ENOTDIR = 20;
const ELOOP = 40;

const libc = openLibc();

function openLibc() {
  try {
    return symbolsOf("libc.so.6");
  } catch {
    // not glibc: musl names its library after the machine
    return symbolsOf(`libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`);
  }
}

function symbolsOf(library: string) {
  return dlopen(library, {
    syscall: { args: ["i64", "i64", "i64", "i64", "i64"], returns: "i64" },
    pipe2: { args: ["ptr", "i32"], returns: "i32" },
    memfd_create: { args: ["ptr", "u32"], returns: "i32" },
    prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
    prlimit: { args: ["i32", "i32", "ptr", "ptr"], returns: "i32" },
    wait4: { args: ["i32", "ptr", "i32", "ptr"], returns: "i32" },
    poll: { args: ["ptr", "u64", "i32"], returns: "i32" },
    __errno_location: { args: [], returns: "ptr" },
  }).symbols;
}

/** errno(3) of the call just made on this thread. */
function errno(): number {
  const place = libc.__errno_location();
  return place === null ? 0 : read.i32(place, 0);
}

const failed = (call: string): Error => new Error(`${call} failed with errno ${errno()}`);

const cString = (text: string): Buffer => {
  invariant(!text.includes("\0"), "no NUL reaches a C string");
  return Buffer.from(`${text}\0`);
};

/** pipe2(2): a real pipe. `Bun.spawn`'s own "pipe" is a socket, which a child cannot reopen as /dev/stderr. */
export function openPipe(): { readonly read: number; readonly write: number } {
  const fds = new Int32Array(2);
  if (libc.pipe2(ptr(fds), O_CLOEXEC) !== 0) throw failed("pipe2");
  return { read: fds[0] ?? -1, write: fds[1] ?? -1 };
}

/** memfd_create(2): an anonymous file holding `content`, read from its start. */
export function memoryFile(content: string): number {
  const fd = libc.memfd_create(ptr(cString("agentina")), MFD_CLOEXEC);
  if (fd < 0) throw failed("memfd_create");
  const bytes = Buffer.from(content);
  let done = 0;
  // Positioned writes leave the offset at zero, where the reader starts.
  while (done < bytes.length) done += writeSync(fd, bytes, done, bytes.length - done, done);
  return fd;
}

/** How a file below a directory could not be opened. */
export type OpenProblem = "missing" | "symlink" | "unreadable";

/**
 * openat2(2): opens `path` for reading below `dirFd` without following any symbolic link, without leaving that
 * directory's tree or file system, and without waiting for a FIFO's writer.
 */
export function openBeneath(dirFd: number, path: string): { readonly fd: number } | OpenProblem {
  const RESOLVE_NO_XDEV = 1;
  const RESOLVE_NO_MAGICLINKS = 2;
  const RESOLVE_NO_SYMLINKS = 4;
  const RESOLVE_BENEATH = 8;
  const resolve = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH;
  const how = new BigUint64Array([BigInt(O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), 0n, BigInt(resolve)]);
  const name = cString(path);
  const fd = Number(libc.syscall(SYS_OPENAT2, dirFd, ptr(name), ptr(how), how.byteLength));
  if (fd >= 0) return { fd };
  const why = errno();
  if (why === ENOENT || why === ENOTDIR) return "missing";
  return why === ELOOP ? "symlink" : "unreadable";
}

/** pidfd_open(2): a handle of one process that no later process with the same number can take over; null when gone. */
export function openPidfd(pid: number): number | null {
  const fd = Number(libc.syscall(SYS_PIDFD_OPEN, pid, 0, 0, 0));
  return fd < 0 ? null : fd;
}

/** True once the process behind the handle has ended (it polls readable from then on). */
export function pidfdEnded(pidfd: number): boolean {
  const poll = new Int32Array([pidfd, POLLIN]); // struct pollfd: int fd; short events, revents
  return libc.poll(ptr(poll), 1, 0) === 1;
}

/** SIGKILL to exactly that process; one that has ended already is no error. */
export function pidfdKill(pidfd: number): void {
  libc.syscall(SYS_PIDFD_SEND_SIGNAL, pidfd, SIGKILL, 0, 0);
}

/** Orphans of our children become our children, so that `reap` learns what a sandbox's init and all below it used. */
export function becomeSubreaper(): void {
  libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

/** CPU time of a process and of every descendant it waited for; peak resident size of the largest of them. */
export interface ProcessUsage {
  readonly cpu_ms: number;
  readonly max_rss_bytes: number;
}

/** wait4(2) without waiting. `pending`: still running. `not_ours`: somebody else has reaped it or will. */
export function reap(pid: number): ProcessUsage | "pending" | "not_ours" {
  const status = new Int32Array(1);
  const usage = new BigInt64Array(18); // struct rusage: utime, stime (two words each), maxrss in KiB, …
  const reaped = libc.wait4(pid, ptr(status), WNOHANG, ptr(usage));
  if (reaped === 0) return "pending";
  if (reaped !== pid) return "not_ours";
  const word = (index: number) => Number(usage[index] ?? 0n);
  const micros = (word(0) + word(2)) * 1e6 + word(1) + word(3);
  return { cpu_ms: Math.round(micros / 1000), max_rss_bytes: word(4) * 1024 };
}

const RLIMIT = { FSIZE: 1, CORE: 4, NOFILE: 7 } as const;

/** setrlimit(2) values for one process and what it starts; `soft` defaults to `hard`. */
export interface ProcessLimit {
  readonly resource: keyof typeof RLIMIT;
  readonly hard: number;
  readonly soft?: number;
}

/** prlimit(2): lowers limits of another process of ours. A limit already lower stays. Returns false when refused. */
export function limitProcess(pid: number, limits: readonly ProcessLimit[]): boolean {
  return limits.every(({ resource, hard, soft = hard }) => {
    const now = new BigUint64Array(2); // struct rlimit: soft, hard
    if (libc.prlimit(pid, RLIMIT[resource], null, ptr(now)) !== 0) return false;
    const ceiling = now[1] ?? 0n;
    const least = (wanted: number) => (BigInt(wanted) < ceiling ? BigInt(wanted) : ceiling);
    const next = new BigUint64Array([least(soft), least(hard)]);
    return libc.prlimit(pid, RLIMIT[resource], ptr(next), null) === 0;
  });
}
