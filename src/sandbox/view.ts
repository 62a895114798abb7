import type { JobLimits } from "../protocol/scope.ts";
import { HOME_DIR, WORKSPACE_DIR } from "../scope/paths.ts";

/** Where bare program names are looked up inside; each of these is part of the read-only /usr or links into it. */
export const PROGRAM_PATH = "/usr/local/bin:/usr/bin:/bin";

/** Inside, a job is always this user, whoever runs the agent: never uid 0, never a name of the host. */
const JOB_UID = "1000";
const JOB_GID = "1000";

/** What holds every process started with this view, as receipts name it. */
export const LAYERS = ["bwrap", "userns", "mountns", "pidns", "netns", "ipcns", "utsns", "rlimits"] as const;

/** A top-level name of the host's system tree: a link into /usr, or (link null) a directory of its own. */
export interface SystemRoot {
  readonly path: string;
  readonly link: string | null;
}

/** A file or directory shown at `to`. `fd` is an O_PATH descriptor: what was checked is what is mounted. */
export interface Bind {
  readonly fd: number;
  readonly to: string;
  readonly writable: boolean;
}

/** A small read-only file made of text. */
export interface TextFile {
  readonly path: string;
  readonly text: string;
}

/** Everything a process inside can see, as data. */
export interface ViewSpec {
  readonly systemRoots: readonly SystemRoot[];
  /** Shown at /work, writable; null gives an empty one that vanishes with the process. */
  readonly workspace: number | null;
  /** Shown at /home/job, writable; null as above. */
  readonly home: number | null;
  readonly binds: readonly Bind[];
  readonly files: readonly TextFile[];
  /** The whole environment besides `baseEnvironment()`. */
  readonly env: Readonly<Record<string, string>>;
  /** Size of each of the memory-backed directories. */
  readonly scratchBytes: number;
}

/** One word of bwrap's argument list: literal, a descriptor of ours, or a text to hand over as a file. */
export type ViewArg = string | { readonly fd: number } | { readonly text: string };

/** Memory-backed directories count against the job's memory: together they take at most three quarters of it. */
export const scratchBytes = (limits: Pick<JobLimits, "memory_bytes">): number =>
  Math.floor(limits.memory_bytes / 4);

/** What every process inside finds in its environment; nothing of the agent's own gets in. */
export function baseEnvironment(): Readonly<Record<string, string>> {
  return {
    PATH: PROGRAM_PATH,
    HOME: HOME_DIR,
    TMPDIR: "/tmp",
    USER: "job",
    LOGNAME: "job",
    SHELL: "/bin/sh",
    LANG: "C.UTF-8",
    CI: "true",
  };
}

/**
 * The bwrap(1) arguments for a view, without the command. They travel through `--args FD`: on the command line the job
 * would read the host's paths in /proc/1/cmdline.
 */
export function viewArgs(spec: ViewSpec): readonly ViewArg[] {
  return [...ISOLATION, ...environmentArgs(spec), ...systemArgs(spec), ...jobArgs(spec), ...CLOSING];
}

const ISOLATION = [
  ...["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net"],
  ...["--unshare-cgroup-try", "--disable-userns", "--uid", JOB_UID, "--gid", JOB_GID],
  ...["--new-session", "--die-with-parent", "--hostname", "job", "--cap-drop", "ALL"],
] as const;

const CLOSING = ["--remount-ro", "/", "--chdir", WORKSPACE_DIR] as const;

function environmentArgs({ env }: ViewSpec): readonly ViewArg[] {
  const all = Object.entries({ ...baseEnvironment(), ...env });
  return ["--clearenv", ...all.flatMap(([name, value]) => ["--setenv", name, value])];
}

/** Read-only pieces of the host's /etc that programs need to start, resolve fonts, and check certificates. */
const HOST_ETC = [
  "/etc/ssl",
  "/etc/ca-certificates",
  "/etc/pki",
  "/etc/alternatives",
  "/etc/ld.so.cache",
  "/etc/ld.so.conf",
  "/etc/ld.so.conf.d",
  "/etc/fonts",
  "/etc/localtime",
] as const;

const ETC_FILES: readonly TextFile[] = [
  {
    path: "/etc/passwd",
    text: [
      "root:x:0:0:root:/root:/usr/sbin/nologin",
      `job:x:${JOB_UID}:${JOB_GID}:job:${HOME_DIR}:/bin/sh`,
      "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ].join("\n"),
  },
  { path: "/etc/group", text: `root:x:0:\njob:x:${JOB_GID}:\nnogroup:x:65534:\n` },
  { path: "/etc/hosts", text: "127.0.0.1 localhost job\n::1 localhost\n" },
  { path: "/etc/nsswitch.conf", text: "passwd: files\ngroup: files\nhosts: files\n" },
  { path: "/etc/resolv.conf", text: "" },
];

function systemArgs({ systemRoots, scratchBytes: size }: ViewSpec): readonly ViewArg[] {
  return [
    ...["--ro-bind", "/usr", "/usr"],
    ...systemRoots.flatMap(({ path, link }) =>
      link === null ? ["--ro-bind", path, path] : ["--symlink", link, path],
    ),
    ...["--perms", "0755", "--dir", "/etc"],
    ...HOST_ETC.flatMap((path) => ["--ro-bind-try", path, path]),
    ...ETC_FILES.flatMap(textFileArgs),
    ...["--proc", "/proc", "--dev", "/dev", ...scratchArgs("/dev/shm", size), "--remount-ro", "/dev"],
    ...scratchArgs("/tmp", size),
  ];
}

const scratchArgs = (path: string, size: number) =>
  ["--perms", "1777", "--size", String(size), "--tmpfs", path] as const;

const textFileArgs = ({ path, text }: TextFile): readonly ViewArg[] => [
  ...["--perms", "0644", "--ro-bind-data"],
  { text },
  path,
];

function jobArgs({ workspace, home, binds, files, scratchBytes: size }: ViewSpec): readonly ViewArg[] {
  // Outer paths first: a read-only directory inside a writable one, or the other way round, keeps its own mode.
  const ordered = [...binds].sort((a, b) => (a.to < b.to ? -1 : 1));
  const place = (fd: number | null, to: string) =>
    fd === null ? scratchArgs(to, size) : bindArgs({ fd, to, writable: true });
  return [
    ...ordered.flatMap(bindArgs),
    ...place(home, HOME_DIR),
    ...place(workspace, WORKSPACE_DIR),
    ...files.flatMap(textFileArgs),
  ];
}

const bindArgs = ({ fd, to, writable }: Bind): readonly ViewArg[] => [
  writable ? "--bind-fd" : "--ro-bind-fd",
  { fd },
  to,
];
