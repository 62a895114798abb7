// A made-up machine: the files of /sys, /proc, /etc and /run that its identity is read from, below a directory.

import { chmod, chown, mkdir, mkdtemp, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** A server of some vendor with one disk, one card, and containers' interfaces beside it. */
export const SERVER: Readonly<Record<string, string>> = {
  "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
  "sys/class/dmi/id/product_uuid": "4C4C4544-0042-3510-8056-B4C04F515332\n",
  "sys/class/dmi/id/board_serial": ".5BQS532.CNFCP0012345.\n",
  "sys/class/dmi/id/chassis_serial": "5BQS532\n",
  "sys/class/dmi/id/sys_vendor": "Dell Inc.\n",
  "sys/devices/pci/nvme0n1/device/serial": "S4EVNX0R123456      \n",
  "sys/devices/pci/nvme0n1/nvme0n1p2/partition": "2\n",
  "sys/devices/pci/net/eno1/address": "b8:2a:72:d1:22:33\n",
  "sys/devices/pci/net/eno1/addr_assign_type": "0\n",
  "sys/devices/virtual/net/docker0/address": "02:42:ac:11:00:02\n",
  "sys/devices/virtual/net/docker0/addr_assign_type": "3\n",
  "sys/devices/virtual/net/br0/address": "b8:2a:72:d1:22:44\n",
  "proc/self/mountinfo": [
    "21 29 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw",
    "29 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw",
    "30 29 259:1 / /boot rw,relatime shared:2 - vfat /dev/nvme0n1p1 rw\n",
  ].join("\n"),
  "proc/cpuinfo":
    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz\nflags\t\t: fpu vme sse2\n\nprocessor\t: 1\n",
};

const LINKS: Readonly<Record<string, string>> = {
  "sys/dev/block/259:2": "../../devices/pci/nvme0n1/nvme0n1p2",
  "sys/class/net/eno1": "../../devices/pci/net/eno1",
  "sys/class/net/docker0": "../../devices/virtual/net/docker0",
  "sys/class/net/br0": "../../devices/virtual/net/br0",
};

/** Files that only root may read on real machines. */
export const ROOT_ONLY = [
  "sys/class/dmi/id/product_uuid",
  "sys/class/dmi/id/board_serial",
  "sys/class/dmi/id/chassis_serial",
];

/** Root's own; where the test is not root, it owns the file itself and must be kept out of it all the same. */
const ROOT_ONLY_MODE = process.geteuid?.() === 0 ? 0o400 : 0o000;

/** Writes the machine and answers its directory; the caller removes it. */
export async function makeRoot(files: Readonly<Record<string, string>>, rootOnly: readonly string[] = []) {
  const root = await mkdtemp(join(tmpdir(), "agentina-host-"));
  await chmod(root, 0o755);
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text, { mode: rootOnly.includes(path) ? ROOT_ONLY_MODE : 0o644 });
  }
  for (const [path, target] of Object.entries(LINKS)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await symlink(target, join(root, path));
  }
  return root;
}

/** Puts the file root leaves for the agent there, with any owner and mode. */
export async function leaveFacts(root: string, text: string, mode = 0o640, uid?: number): Promise<void> {
  const path = join(root, "run/agentina-host/facts");
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
  await chmod(path, mode);
  if (uid !== undefined) await chown(path, uid, uid);
}
