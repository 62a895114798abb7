// Goal: the machine's identity is read from its files alone, without root, without a child process, in no time; what may
// not be read is unknown, never gone.
// Method: made-up machines below a directory, read as root and as nobody; the real machine, held against
// systeminformation.

import { afterEach, describe, expect, test } from "bun:test";
import { rm, symlink, unlink, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import * as si from "systeminformation";
import { makeFingerprint } from "../../../src/host/fingerprint.ts";
import { type IdentityFacts, parseRootFacts, readIdentityFacts } from "../../../src/host/identity-facts.ts";
import type { FingerprintComponent } from "../../../src/protocol/trust.ts";
import { compareFingerprints } from "../../../src/trust/fingerprint-match.ts";
import { leaveFacts, makeRoot, ROOT_ONLY, SERVER } from "./fake-root.ts";

const NOBODY = 65534;
const made: string[] = [];
afterEach(async () => {
  for (const root of made.splice(0)) await rm(root, { recursive: true, force: true });
});

async function machine(changes: Readonly<Record<string, string>> = {}, rootOnly: readonly string[] = []) {
  const root = await makeRoot({ ...SERVER, ...changes }, rootOnly);
  made.push(root);
  return root;
}

/** Reads as a user that is not root, whoever runs the tests. */
function readAsNobody(root: string): IdentityFacts {
  if (process.geteuid?.() !== 0) return readIdentityFacts(root);
  process.seteuid?.(NOBODY);
  try {
    return readIdentityFacts(root);
  } finally {
    process.seteuid?.(0);
  }
}

describe("a server", () => {
  test("is known by everything it shows", async () => {
    const facts = readIdentityFacts(await machine());
    expect(facts).toEqual({
      raw: {
        machine_id: "0123456789abcdef0123456789abcdef\n",
        product_uuid: "4C4C4544-0042-3510-8056-B4C04F515332\n",
        board_serial: ".5BQS532.CNFCP0012345.\n",
        chassis_serial: "5BQS532\n",
        root_disk: "S4EVNX0R123456      \n",
        cpu_model: "Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz",
        virtualisation: "hardware",
        macs: ["b8:2a:72:d1:22:33"],
      },
      unknown: [],
      problem: null,
    });
  });

  test("with serials that are root's own has unknown ones, and is otherwise the same machine", async () => {
    const root = await machine({}, ROOT_ONLY);
    const facts = readAsNobody(root);
    expect([...facts.unknown].sort()).toEqual(["board_serial", "chassis_serial", "product_uuid"]);
    expect(facts.raw.product_uuid).toBeUndefined();
    expect(facts.raw.machine_id).toBe("0123456789abcdef0123456789abcdef\n");
    const asRoot = makeFingerprint(readIdentityFacts(await machine()).raw, "s".repeat(22)).components;
    const { components } = makeFingerprint(facts.raw, "s".repeat(22));
    for (const [name, digest] of Object.entries(components)) expect(asRoot).toHaveProperty(name, digest);
  });

  test("whose root leaves the facts is wholly known again", async () => {
    const root = await machine({}, ROOT_ONLY);
    await leaveFacts(
      root,
      "product_uuid=4c4c4544-0042-3510-8056-b4c04f515332\nboard_serial=.5BQS532.CNFCP0012345.\nchassis_serial=5BQS532\ntpm_ek=ab12\n",
      0o644,
    );
    const facts = readAsNobody(root);
    expect(facts.problem).toBeNull();
    expect(facts.unknown).toEqual([]);
    expect(facts.raw.tpm_ek).toBe("ab12");
    const direct = makeFingerprint(readIdentityFacts(await machine()).raw, "s".repeat(22)).components;
    expect(makeFingerprint(facts.raw, "s".repeat(22)).components).toMatchObject({ ...direct });
  });
});

describe("at a later start", () => {
  const FACTS =
    "product_uuid=4C4C4544-0042-3510-8056-B4C04F515332\nboard_serial=.5BQS532.CNFCP0012345.\n" +
    "chassis_serial=5BQS532\ntpm_ek=ab12\nroot_disk=S4EVNX0R123456\n";
  const NO_DISK_SERIAL = { "sys/devices/pci/nvme0n1/device/serial": "" };
  const TPM = { "sys/class/tpm/tpm0/tpm_version_major": "2\n" };
  const compared = (enrolled: IdentityFacts, now: IdentityFacts) => {
    const print = (facts: IdentityFacts) => makeFingerprint(facts.raw, "s".repeat(22));
    return compareFingerprints(print(enrolled), print(now), now.unknown);
  };

  test("what root left then and has not left now is unknown: the machine is the same", async () => {
    const root = await machine({ ...NO_DISK_SERIAL, ...TPM }, ROOT_ONLY);
    await leaveFacts(root, FACTS, 0o644);
    const enrolled = readAsNobody(root);
    expect(enrolled.unknown).toEqual([]);
    const facts = join(root, "run/agentina-host/facts");
    await unlink(facts);
    const unknown: FingerprintComponent[] = [
      "board_serial",
      "chassis_serial",
      "product_uuid",
      "root_disk",
      "tpm_ek",
    ];
    expect([...readAsNobody(root).unknown].sort()).toEqual(unknown);
    expect(compared(enrolled, readAsNobody(root))).toMatchObject({ verdict: "match", score: 1, lost: [] });
    await leaveFacts(root, "nonsense", 0o644);
    const spoilt = readAsNobody(root);
    expect([[...spoilt.unknown].sort(), spoilt.problem]).toEqual([unknown, "its last line is cut off"]);
  });

  test("what root leaves only now is enriched, and a TPM that is not there any more is gone", async () => {
    const root = await machine(TPM, ROOT_ONLY);
    const enrolled = readAsNobody(root);
    await leaveFacts(root, FACTS, 0o644);
    const now = readAsNobody(root);
    expect(compared(enrolled, now)).toMatchObject({ verdict: "match", score: 1 });
    expect(compared(enrolled, now).enriched).toContain("tpm_ek");
    await rm(join(root, "sys/class/tpm"), { recursive: true });
    await leaveFacts(root, FACTS.replace("tpm_ek=ab12\n", ""), 0o644);
    expect(compared(now, readAsNobody(root)).lost).toEqual(["tpm_ek"]);
  });

  test("root's facts of another machine are another machine", async () => {
    const root = await machine(TPM, ROOT_ONLY);
    await leaveFacts(root, FACTS, 0o644);
    const enrolled = readAsNobody(root);
    await leaveFacts(root, FACTS.replace("ab12", "cd34"), 0o644);
    expect(compared(enrolled, readAsNobody(root))).toMatchObject({
      verdict: "mismatch",
      rule: "tpm_changed",
    });
  });
});

describe("other machines", () => {
  test("a virtual machine says whose it is, a container that it is one", async () => {
    const flags = "model name\t: QEMU\nflags\t\t: fpu hypervisor sse\n";
    const vm = await machine({ "proc/cpuinfo": flags, "sys/class/dmi/id/sys_vendor": "QEMU\n" });
    expect(readIdentityFacts(vm).raw.virtualisation).toBe("virtual machine QEMU");
    expect(readIdentityFacts(await machine({ ".dockerenv": "" })).raw.virtualisation).toBe("container");
    const xen = await machine({ "sys/hypervisor/type": "xen\n" });
    expect(readIdentityFacts(xen).raw.virtualisation).toBe("hypervisor xen");
  });

  test("a board without DMI is known by its device tree and its processor's numbers", async () => {
    const root = await makeRoot({
      "proc/device-tree/serial-number": "10000000abcdef01\0",
      "proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n",
    });
    made.push(root);
    const { raw, unknown } = readIdentityFacts(root);
    expect(raw.device_tree_serial).toBe("10000000abcdef01\0");
    expect(raw.cpu_model).toBe("0x41 0xd08");
    expect(unknown).toEqual([]);
  });

  test("an encrypted or logical volume leads to its one disk, two disks lead nowhere", async () => {
    const root = await machine({ "sys/devices/virtual/block/dm-0/dm/name": "root\n" });
    await unlink(join(root, "sys/dev/block/259:2"));
    await symlink("../../devices/virtual/block/dm-0", join(root, "sys/dev/block/259:2"));
    await Bun.write(join(root, "sys/devices/virtual/block/dm-0/slaves/.keep"), "");
    await unlink(join(root, "sys/devices/virtual/block/dm-0/slaves/.keep"));
    const below = "../../../../pci/nvme0n1/nvme0n1p2";
    await symlink(below, join(root, "sys/devices/virtual/block/dm-0/slaves/nvme0n1p2"));
    expect(readIdentityFacts(root).raw.root_disk).toBe("S4EVNX0R123456      \n");
    await symlink(below, join(root, "sys/devices/virtual/block/dm-0/slaves/sda1"));
    expect(readIdentityFacts(root).raw.root_disk).toBeUndefined();
  });

  test("a root without a disk of its own, and an empty one, throw nothing", async () => {
    const overlay = await machine({ "proc/self/mountinfo": "29 1 0:45 / / rw - overlay overlay rw\n" });
    expect(readIdentityFacts(overlay).raw.root_disk).toBeUndefined();
    const empty = await makeRoot({});
    made.push(empty);
    expect(readIdentityFacts(empty)).toEqual({
      raw: { macs: [], virtualisation: "hardware" },
      unknown: [],
      problem: null,
    });
    expect(readIdentityFacts(join(empty, "nowhere")).raw.macs).toEqual([]);
  });
});

describe("the facts root leaves", () => {
  test.each([
    ["a key nobody knows", "machine_id=x\n", /line 1 is not/],
    ["a key of Object.prototype", "constructor=x\n", /line 1 is not/],
    ["a key twice", "tpm_ek=a\ntpm_ek=b\n", /line 2 repeats/],
    ["no value", "tpm_ek=\n", /line 1 is not/],
    ["a blank line", "tpm_ek=a\n\n", /line 2 is not/],
    ["a comment", "# facts\n", /line 1 is not/],
    ["space before the key", " tpm_ek=a\n", /line 1 is not/],
    ["a carriage return", "tpm_ek=a\r\n", /line 1 is not/],
    ["a NUL", "tpm_ek=a\0b\n", /line 1 is not/],
    ["an escape sequence", "tpm_ek=\u001b[2J\n", /line 1 is not/],
    ["letters outside ASCII", "tpm_ek=é\n", /line 1 is not/],
    ["a value too long", `tpm_ek=${"a".repeat(257)}\n`, /line 1 is not/],
    ["a cut last line", "tpm_ek=a\nboard_serial=b", /cut off/],
  ])("with %s are not used at all", (_, text, problem) => {
    const { facts, problem: found } = parseRootFacts(text);
    expect(facts).toBeNull();
    expect(found).toMatch(problem);
  });

  test("are read when sound", () => {
    expect(parseRootFacts("")).toEqual({ facts: {}, problem: null });
    expect(parseRootFacts("tpm_ek=a=b c\nroot_disk=x\n")).toEqual({
      facts: { tpm_ek: "a=b c", root_disk: "x" },
      problem: null,
    });
  });

  test("count only as a small file of root's that nobody else may write", async () => {
    const text = "tpm_ek=a\n";
    const sound = await machine();
    await leaveFacts(sound, text);
    expect(readIdentityFacts(sound).raw.tpm_ek).toBe("a");

    const open = await machine();
    await leaveFacts(open, text, 0o666);
    expect(readIdentityFacts(open)).toMatchObject({ problem: "others than its owner may write it" });

    const large = await machine();
    await leaveFacts(large, "tpm_ek=a\n".repeat(1000));
    expect(readIdentityFacts(large)).toMatchObject({ problem: "it is larger than 4096 bytes" });

    const linked = await machine();
    await leaveFacts(linked, text);
    await unlink(join(linked, "run/agentina-host/facts"));
    await writeFile(join(linked, "elsewhere"), text);
    await symlink("../../elsewhere", join(linked, "run/agentina-host/facts"));
    expect(readIdentityFacts(linked).problem).toContain("cannot be opened");
    expect(readIdentityFacts(linked).raw.tpm_ek).toBeUndefined();

    if (process.geteuid?.() === 0) {
      const foreign = await machine();
      await leaveFacts(foreign, text, 0o640, NOBODY);
      expect(readIdentityFacts(foreign).problem).toBe(`it belongs to uid ${NOBODY}`);
    }
  });

  test("yield to what the agent can read for itself", async () => {
    const root = await machine();
    await leaveFacts(root, "product_uuid=somebody-elses\n");
    expect(readIdentityFacts(root).raw.product_uuid).toBe("4C4C4544-0042-3510-8056-B4C04F515332\n");
  });
});

describe("this very machine", () => {
  test("is the same each time it is read", () => {
    const first = readIdentityFacts();
    for (let again = 0; again < 20; again++) expect(readIdentityFacts()).toEqual(first);
  });

  test("is described as systeminformation describes it", async () => {
    const { raw } = readIdentityFacts();
    const [uuid, cpu] = await Promise.all([si.uuid(), si.cpu()]);
    expect((raw.machine_id ?? "").trim()).toBe(uuid.os);
    if (cpu.brand !== "")
      expect((raw.cpu_model ?? "").replace(/\(R\)|\(TM\)/g, "®")).toContain(cpu.brand.split(" ")[0] ?? "");
    expect(raw.cpu_model).toBe(cpus()[0]?.model ?? raw.cpu_model);
  });
});
