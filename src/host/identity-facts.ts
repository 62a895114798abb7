import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { errnoOf } from "../fault/fault.ts";
import type { FingerprintComponent } from "../protocol/trust.ts";
import type { RawIdentity } from "./fingerprint.ts";
import { readSmall, textOf } from "./read-small.ts";

/** What this machine says about itself. */
export interface IdentityFacts {
  readonly raw: RawIdentity;
  /** Components that exist but this user may not read, and that nobody read for it. Unknown is never "changed". */
  readonly unknown: readonly FingerprintComponent[];
  /** What is wrong with the facts root left for the agent; then none of them is used. */
  readonly problem: string | null;
}

type ScalarComponent = Exclude<FingerprintComponent, "macs">;

/** Sources in order; the first that says anything wins. */
const FILES: readonly (readonly [ScalarComponent, readonly string[]])[] = [
  ["product_uuid", ["sys/class/dmi/id/product_uuid"]],
  ["machine_id", ["etc/machine-id"]],
  ["device_tree_serial", ["proc/device-tree/serial-number", "sys/firmware/devicetree/base/serial-number"]],
  ["board_serial", ["sys/class/dmi/id/board_serial"]],
  ["chassis_serial", ["sys/class/dmi/id/chassis_serial"]],
];

const TPM_PATHS = ["sys/class/tpm/tpm0", "sys/class/tpmrm/tpmrm0"];
const DISK_FILES = ["serial", "device/serial", "wwid", "device/wwid"];
const CPU_INFO_BYTES = 16_384;
const MOUNT_INFO_BYTES = 1_048_576;
const STACKED_DISKS_MAX = 8;

/** Facts only root can read, gathered by root at each start and at installation. */
const ROOT_FACTS_PATH = "run/agentina-host/facts";
const ROOT_FACTS_BYTES = 4096;
const ROOT_FACTS_KEYS: ReadonlySet<string> = new Set<ScalarComponent>([
  "tpm_ek",
  "product_uuid",
  "device_tree_serial",
  "board_serial",
  "chassis_serial",
  "root_disk",
]);

/**
 * Reads the identity of the machine from sysfs, procfs and /etc below `root`, without a child process and without
 * waiting for anything. Never throws: what cannot be had is left out.
 */
export function readIdentityFacts(root = "/"): IdentityFacts {
  const found: Partial<Record<ScalarComponent, string>> = {};
  const unreadable = new Set<ScalarComponent>();
  for (const [name, paths] of FILES) {
    for (const path of paths) {
      const file = readSmall(join(root, path), 512);
      if (file.state === "unreadable") unreadable.add(name);
      if (file.state === "read" && file.text.trim() !== "") found[name] ??= file.text;
    }
  }
  const told = readRootFacts(root);
  const disk = rootDiskSerial(root);
  if (disk === "unreadable") unreadable.add("root_disk");
  // Some disks tell their serial only to root, who has not passed it on now: that is not a disk without one.
  else if (disk === "untold" && told.facts === null) unreadable.add("root_disk");
  else if (typeof disk === "object" && disk !== null) found.root_disk = disk.serial;
  // Only root can ask a TPM; one that is there and was not asked is not one that is gone.
  if (TPM_PATHS.some((path) => existsSync(join(root, path)))) unreadable.add("tpm_ek");
  const cpu = textOf(join(root, "proc/cpuinfo"), CPU_INFO_BYTES) ?? "";
  const model = cpuModel(cpu);
  if (model !== null) found.cpu_model = model;
  found.virtualisation = virtualisation(root, cpu);
  const raw = { ...told.facts, ...found, macs: physicalMacs(root) };
  const unknown = [...unreadable].filter((name) => raw[name] === undefined);
  return { raw, unknown, problem: told.problem };
}

/**
 * The serial of the disk that carries `/`; through partitions and one-legged device-mapper stacks. Null without such a
 * disk, "untold" when sysfs has no serial of it.
 */
function rootDiskSerial(root: string): { readonly serial: string } | "unreadable" | "untold" | null {
  const mounts = textOf(join(root, "proc/self/mountinfo"), MOUNT_INFO_BYTES) ?? "";
  const device = mounts
    .split("\n")
    .findLast((line) => line.split(" ")[4] === "/")
    ?.split(" ")[2];
  if (device === undefined || device.startsWith("0:")) return null;
  let directory = realPath(join(root, "sys/dev/block", device));
  for (let depth = 0; directory !== null && depth < STACKED_DISKS_MAX; depth++) {
    const [below, ...others] = names(join(directory, "slaves"));
    if (below === undefined) break;
    if (others.length > 0) return null;
    directory = realPath(join(directory, "slaves", below));
  }
  if (directory === null) return null;
  const disk = existsSync(join(directory, "partition")) ? dirname(directory) : directory;
  const files = DISK_FILES.map((name) => readSmall(join(disk, name), 512));
  const serial = files.find((file) => file.state === "read" && file.text.trim() !== "");
  if (serial?.state === "read") return { serial: serial.text };
  return files.some((file) => file.state === "unreadable") ? "unreadable" : "untold";
}

/** MACs of the interfaces that are hardware; docker's, veth's and bridges' come and go. */
function physicalMacs(root: string): readonly string[] {
  const directory = join(root, "sys/class/net");
  return names(directory).flatMap((name) => {
    if (linkTarget(join(directory, name)).includes("/virtual/")) return [];
    const assigned = textOf(join(directory, name, "addr_assign_type"), 64);
    const mac = textOf(join(directory, name, "address"), 64);
    return mac === null || (assigned !== null && assigned !== "0") ? [] : [mac];
  });
}

/** x86 names its model; ARM gives maker and part in numbers. */
function cpuModel(cpuinfo: string): string | null {
  const field = (name: string) => new RegExp(`^${name}\\s*: (.+)$`, "m").exec(cpuinfo)?.[1];
  const named = field("model name") ?? field("cpu model") ?? field("Model");
  if (named !== undefined) return named;
  const [maker, part] = [field("CPU implementer"), field("CPU part")];
  return maker !== undefined && part !== undefined ? `${maker} ${part}` : null;
}

function virtualisation(root: string, cpuinfo: string): string {
  const inContainer = [".dockerenv", "run/.containerenv", "run/systemd/container"];
  if (inContainer.some((path) => existsSync(join(root, path)))) return "container";
  const hypervisor = textOf(join(root, "sys/hypervisor/type"), 64);
  if (hypervisor) return `hypervisor ${hypervisor}`;
  if (!/^flags\s*:.*\bhypervisor\b/m.test(cpuinfo)) return "hardware";
  return `virtual machine ${textOf(join(root, "sys/class/dmi/id/sys_vendor"), 256) ?? ""}`;
}

interface RootFacts {
  /** Null while there are none to go by. */
  readonly facts: Partial<Record<ScalarComponent, string>> | null;
  readonly problem: string | null;
}

/** One bad line spoils the whole file: it was written by a program, so a bad line means it was not that program. */
function readRootFacts(root: string): RootFacts {
  const none = (problem: string | null): RootFacts => ({ facts: null, problem });
  const path = join(root, ROOT_FACTS_PATH);
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = errnoOf(error);
    return none(code === "ENOENT" ? null : `it cannot be opened (${String(code)})`);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return none("it is not a regular file");
    // Root's file, that is, whoever owns "/": in a user namespace that is not uid 0.
    if (stat.uid !== statSync(root).uid) return none(`it belongs to uid ${stat.uid}`);
    if ((stat.mode & 0o022) !== 0) return none("others than its owner may write it");
    if (stat.size > ROOT_FACTS_BYTES) return none(`it is larger than ${ROOT_FACTS_BYTES} bytes`);
    return parseRootFacts(readFileSync(fd, "utf8"));
  } finally {
    closeSync(fd);
  }
}

/** `key=value` lines: known keys, each once, printable ASCII values of 1 to 256 characters. */
export function parseRootFacts(text: string): RootFacts {
  const facts = new Map<string, string>();
  if (text !== "" && !text.endsWith("\n")) return { facts: null, problem: "its last line is cut off" };
  for (const [index, line] of text.split("\n").slice(0, -1).entries()) {
    const [, key = "", value = ""] = /^([a-z_]{1,32})=([\x20-\x7e]{1,256})$/.exec(line) ?? [];
    const complaint = !ROOT_FACTS_KEYS.has(key)
      ? "is not key=value of a known key"
      : facts.has(key)
        ? "repeats a key"
        : null;
    if (complaint !== null) return { facts: null, problem: `line ${index + 1} ${complaint}` };
    facts.set(key, value);
  }
  return { facts: Object.fromEntries(facts), problem: null };
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return []; // no such directory, or not for us: nothing to be learned either way
  }
}

function linkTarget(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // not a link
  }
}

function realPath(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null; // not in sysfs: a file system without a device of its own
  }
}
