// Goal: whatever is changed, missing, added, foreign, linked or open in a state directory is named, one finding for each
// file, and nothing else is; whatever lies there, the check ends and throws nothing.
// Method: agents activated for real; one deed on one file; a check by a process that has just begun.

import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { StateSeal } from "../../../src/agent/state-seal.ts";
import { scanState } from "../../../src/agent/state-seal-scan.ts";
import { newAgentId } from "../../../src/protocol/ids.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { SEALED_NAMES, signSeal } from "../../../src/trust/seal.ts";
import { anySigningKey, random } from "../../support/authority.ts";
import { hostNames, tree } from "./hosts.ts";
import { claimsOf, type SealedHost, sealedHost, sealOf } from "./sealed-host.ts";

const fresh = hostNames();
const host = () => sealedHost(fresh());
const NOBODY = 65534;
const isRoot = process.getuid?.() === 0;

/** Codes and names a process finds that has just begun. */
async function found({ dir, identity }: SealedHost): Promise<string[]> {
  const { findings } = await sealOf(dir, identity).check();
  return findings.map(({ code, name }) => `${code} ${name}`);
}

const PRESENT = SEALED_NAMES.filter((name) => !/quarantine|terminal/.test(name));

describe("a sealed file", () => {
  const deeds: Readonly<Record<string, readonly [string, (path: string) => void]>> = {
    "one byte longer": ["SEAL_MODIFIED", (path) => fs.appendFileSync(path, " ")],
    "of the same length": [
      "SEAL_MODIFIED",
      (path) => {
        const bytes = fs.readFileSync(path);
        bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
        fs.writeFileSync(path, bytes);
      },
    ],
    empty: ["SEAL_MODIFIED", (path) => fs.truncateSync(path, 0)],
    "of 10 GB": ["SEAL_MODIFIED", (path) => fs.truncateSync(path, 10 * 2 ** 30)],
    gone: ["SEAL_MISSING", (path) => fs.rmSync(path)],
    "a link to itself": [
      "SEAL_SYMLINK",
      (path) => {
        fs.renameSync(path, join(path, "..", "..", "..", "moved"));
        fs.symlinkSync(join(path, "..", "..", "..", "moved"), path);
      },
    ],
    "a dangling link": ["SEAL_SYMLINK", (path) => replaced(path, () => fs.symlinkSync("/nowhere", path))],
    "a directory": ["SEAL_SYMLINK", (path) => replaced(path, () => fs.mkdirSync(path))],
    "a pipe": [
      "SEAL_SYMLINK",
      (path) => replaced(path, () => Bun.spawnSync(["/usr/bin/mkfifo", path], { env: {} })),
    ],
    "writable for others": ["SEAL_OPEN", (path) => fs.chmodSync(path, 0o622)],
    ...(isRoot && { "somebody else's": ["SEAL_FOREIGN", (path: string) => fs.chownSync(path, 12345, 0)] }),
    "somebody's, open and changed": [
      "SEAL_MODIFIED",
      (path) => {
        fs.appendFileSync(path, " ");
        fs.chmodSync(path, 0o666);
      },
    ],
  };
  function replaced(path: string, make: () => void): void {
    fs.rmSync(path);
    make();
  }
  for (const [name, [code, deed]] of Object.entries(deeds)) {
    test(`${name} is ${code}, once, whichever it is`, async () => {
      const { dir, identity, at } = await host();
      for (const sealed of PRESENT) {
        const copy = `${dir}-${sealed.replace("/", "-")}`;
        fs.cpSync(dir, join(copy, "state"), { recursive: true });
        fs.chmodSync(join(copy, "state"), 0o700);
        deed(join(copy, "state", sealed));
        expect(await found({ dir: join(copy, "state"), identity, at, seal: null as never })).toEqual([
          `${code} ${sealed}`,
        ]);
      }
    });
  }

  test("that only its user may read is wrong when others may: keys and license, not the rest", async () => {
    const here = await host();
    for (const name of PRESENT) fs.chmodSync(here.at(name), 0o644);
    expect(await found(here)).toEqual([
      "SEAL_OPEN license.jwt",
      "SEAL_OPEN keypair/identity.pem",
      "SEAL_OPEN keypair/sealing.pem",
    ]);
  });

  test("that nobody sealed is unexpected: a quarantine or an end that was planted", async () => {
    const here = await host();
    for (const name of ["quarantine.jws", "terminal.jws"])
      fs.writeFileSync(here.at(name), "x", { mode: 0o600 });
    expect(await found(here)).toEqual(["SEAL_UNEXPECTED quarantine.jws", "SEAL_UNEXPECTED terminal.jws"]);
  });

  test("that its user may not read counts as modified", async () => {
    const { dir, at } = await host();
    const uid = isRoot ? NOBODY : (process.getuid?.() ?? 0);
    if (isRoot) {
      for (const path of [dir, ...fs.readdirSync(dir, { recursive: true }).map(String).map(at)]) {
        fs.chownSync(path, NOBODY, NOBODY);
      }
      for (const above of ["..", "../.."]) fs.chmodSync(join(dir, above), 0o711);
    }
    fs.chmodSync(at("agent.json"), 0);
    if (isRoot) process.seteuid?.(NOBODY);
    try {
      const { sealed, strays } = scanState(dir, uid);
      expect(strays).toEqual([]);
      expect(sealed["agent.json"]).toMatchObject({
        state: "unusable",
        complaint: { code: "SEAL_MODIFIED", what: "unreadable (EACCES)" },
      });
      expect(sealed["trust.json"]).toMatchObject({ state: "read", complaint: null });
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  });
});

describe("the seal itself", () => {
  test("missing, made up, cut, signed by another key, or bound to another agent holds nothing", async () => {
    const deeds: Readonly<Record<string, (here: SealedHost) => Promise<void> | void>> = {
      SEAL_ABSENT: ({ at }) => fs.rmSync(at("seal.jws")),
      "SEAL_INVALID:text": ({ at }) => fs.writeFileSync(at("seal.jws"), "{}\n"),
      "SEAL_INVALID:bytes": ({ at }) => fs.writeFileSync(at("seal.jws"), random(300)),
      "SEAL_INVALID:cut": ({ at }) => fs.truncateSync(at("seal.jws"), 200),
      "SEAL_INVALID:key": async ({ at, dir, identity }) =>
        fs.writeFileSync(
          at("seal.jws"),
          await signSeal(await anySigningKey(), await claimsOf(dir, identity)),
        ),
      "SEAL_INVALID:agent": async ({ at, dir, identity }) =>
        fs.writeFileSync(
          at("seal.jws"),
          await signSeal(identity.keys.identity, {
            ...(await claimsOf(dir, identity)),
            agent: newAgentId(random),
          }),
        ),
      SEAL_SYMLINK: ({ at }) => {
        fs.renameSync(at("seal.jws"), `${at("")}/../seal`);
        fs.symlinkSync("../seal", at("seal.jws"));
      },
    };
    for (const [code, deed] of Object.entries(deeds)) {
      const here = await host();
      await deed(here);
      expect(await found(here)).toEqual([`${code.split(":")[0]} seal.jws`]);
      const verdict = await sealOf(here.dir, here.identity).check();
      expect(verdict).toMatchObject({ ctr: 0, trustRoot: null });
    }
  });

  test("that is gone is remembered by the process that has seen it: number, root, trust root", async () => {
    const { seal, at } = await host();
    const before = await seal.check();
    fs.rmSync(at("seal.jws"));
    const { findings, ...rest } = await seal.check();
    expect(findings.map(({ code }) => code)).toEqual(["SEAL_ABSENT"]);
    expect<unknown>({ ...rest, findings: [] }).toEqual(before);
    await expect(seal.change({ "license.jwt": "x" })).rejects.toMatchObject({ code: "STATE_TAMPERED" });
  });

  test("with a lower number than this process has seen is an older one, brought back", async () => {
    const { dir, seal, at } = await host();
    await seal.check();
    fs.cpSync(dir, `${dir}-old`, { recursive: true });
    await seal.change({ "license.jwt": "another\n" });
    for (const name of ["seal.jws", "license.jwt"]) fs.copyFileSync(join(`${dir}-old`, name), at(name));
    const { findings } = await seal.check();
    expect(findings).toEqual([{ code: "SEAL_INVALID", name: "seal.jws", what: "an older one" }]);
  });

  test("of another agent's directory, with one of its files, names both", async () => {
    const [here, other] = [await host(), await host()];
    for (const name of ["seal.jws", "license.jwt"]) fs.copyFileSync(other.at(name), here.at(name));
    expect(await found(here)).toEqual(["SEAL_INVALID seal.jws"]);
    const { findings } = await StateSeal.open(
      here.dir,
      other.identity.file.agent_id,
      other.identity.keys.identity,
    ).check();
    expect(findings.map(({ name }) => name)).toEqual(
      ["agent.json", "fingerprint.json", "trust.json", "keypair/identity.pem", "keypair/sealing.pem"].filter(
        (name) => fs.readFileSync(here.at(name), "hex") !== fs.readFileSync(other.at(name), "hex"),
      ),
    );
  });

  test("keeps the trust root when trust.json is exchanged", async () => {
    const [here, other] = [await host(), await host()];
    const { trustRoot } = await here.seal.check();
    fs.copyFileSync(other.at("trust.json"), here.at("trust.json"));
    const verdict = await sealOf(here.dir, here.identity).check();
    expect(verdict.trustRoot).toBe(trustRoot);
    expect(verdict.findings).toEqual([{ code: "SEAL_MODIFIED", name: "trust.json", what: "modified" }]);
  });
});

describe("what no seal speaks for", () => {
  test("is left alone when it is the agent's own", async () => {
    const here = await host();
    for (const name of ["cache", "lost+found", "work/job_1.1", "cache/deep/er"]) {
      fs.mkdirSync(here.at(name), { recursive: true, mode: 0o700 });
    }
    const own = [
      ...["bearer.json", "journal.db", "journal.db-wal", "journal.db-shm", "healthy", "license.jwt.tmp"],
      ...["seal.jws.tmp", "keypair/identity.next.pem", "keypair/sealing.next.pem.tmp", "work/anything"],
      ...["bearer.json.tmp", "seal.next.jws"],
    ];
    for (const name of own) fs.writeFileSync(here.at(name), "x", { mode: 0o600 });
    if (isRoot) fs.chownSync(here.at("lost+found"), 12345, 12345);
    expect(await found(here)).toEqual([]);
  });

  test("is named when it is not: by its exact name, wherever it lies, escaped", async () => {
    const here = await host();
    const strange = Buffer.concat([Buffer.from(`${here.dir}/`), Buffer.from([0x62, 0xff, 0x0a, 0x1b])]);
    const names = [
      ".hidden",
      "License.jwt",
      "journal.db.tmp",
      "keypair/identity.pem.bak",
      "notes.tmp",
      "ä\u202e",
    ];
    for (const name of names) fs.writeFileSync(here.at(name), "x", { mode: 0o600 });
    fs.mkdirSync(here.at("sub"));
    fs.writeFileSync(strange, "x");
    fs.writeFileSync(here.at("line\nbreak"), "x");
    fs.writeFileSync(here.at(`${"\u200b".repeat(84)}`), "x");
    const { findings } = await sealOf(here.dir, here.identity).check();
    expect(new Set(findings.map(({ code }) => code))).toEqual(new Set(["SEAL_UNEXPECTED"]));
    const told = findings.map(({ name }) => name);
    expect(told).toEqual(
      expect.arrayContaining([
        ...[".hidden", "License.jwt", "journal.db.tmp", "keypair/identity.pem.bak", "notes.tmp", "sub"],
        ...["ä\\u202e", "b\\xff\\x0a\\x1b", "line\\u000abreak"],
      ]),
    );
    expect(told).toHaveLength(10);
    for (const name of told)
      expect([name.length <= 255, /[\p{Cc}\p{Cf}]/u.test(name)]).toEqual([true, false]);
  });

  test("is named when it is not what it should be", async () => {
    const here = await host();
    fs.symlinkSync("/etc/passwd", here.at("bearer.json"));
    fs.writeFileSync(here.at("cache"), "");
    fs.mkdirSync(here.at("healthy"));
    fs.writeFileSync(here.at("journal.db"), "", { mode: 0o644 });
    const server = createServer().listen(here.at("license.jwt.tmp"));
    await new Promise((resolve) => server.once("listening", resolve));
    try {
      expect(await found(here)).toEqual([
        "SEAL_SYMLINK bearer.json",
        "SEAL_SYMLINK cache",
        "SEAL_SYMLINK healthy",
        "SEAL_OPEN journal.db",
        "SEAL_SYMLINK license.jwt.tmp",
      ]);
    } finally {
      server.close();
    }
  });

  test("is told up to the limit of a heartbeat, sealed files first", async () => {
    const here = await host();
    for (let i = 0; i < 100; i++) fs.writeFileSync(here.at(`a${i}`), "");
    fs.rmSync(here.at("trust.json"));
    const all = await found(here);
    expect(all).toHaveLength(LIMITS.SEAL_FINDINGS);
    expect(all[0]).toBe("SEAL_MISSING trust.json");
  });
});

describe("the directory of the keys", () => {
  test("that is a link, a file, gone or open is named by itself", async () => {
    const deeds: Readonly<Record<string, (path: string) => void>> = {
      SEAL_SYMLINK: (path) => {
        fs.renameSync(path, `${path}/../../keys`);
        fs.symlinkSync("../keys", path);
      },
      "SEAL_SYMLINK:file": (path) => {
        fs.rmSync(path, { recursive: true });
        fs.writeFileSync(path, "");
      },
      SEAL_MISSING: (path) => fs.rmSync(path, { recursive: true }),
      SEAL_OPEN: (path) => fs.chmodSync(path, 0o755),
    };
    for (const [code, deed] of Object.entries(deeds)) {
      const here = await host();
      deed(here.at("keypair"));
      expect(await found(here)).toEqual([`${code.split(":")[0]} keypair`]);
    }
  });
});

test("looking without ending anything writes nothing", async () => {
  const here = await host();
  const claims = await claimsOf(here.dir, here.identity);
  const open = await signSeal(here.identity.keys.identity, {
    ...claims,
    ctr: claims.ctr + 1,
    next: { "quarantine.jws": "0".repeat(64) as never },
  });
  fs.writeFileSync(here.at("seal.jws"), open);
  const before = tree(here.dir);
  const looked = await sealOf(here.dir, here.identity).inspect();
  expect(tree(here.dir)).toEqual(before);
  const checked = await sealOf(here.dir, here.identity).check();
  expect(checked).toEqual(looked);
  expect(checked).toMatchObject({ ctr: claims.ctr + 1, findings: [] });
  expect((await claimsOf(here.dir, here.identity)).next).toBeUndefined();
});
