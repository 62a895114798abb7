// Goal: a change to sealed files that is cut anywhere, by a crash or by the disk, leaves a state directory in which
// nothing counts as tampered with, each file is as it was or as it was to be, and the next change goes through.
// Method: at every change the real code makes to the file system, copy the directory as a crash would leave it, or let
// the change fail; then open it as a process does that has just begun. The order of flushes is read from the calls.

import { afterAll, describe, expect, mock, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Identity } from "../../../src/agent/identity.ts";
import { readIdentityKey, readKeyPair, statePaths } from "../../../src/agent/state-files.ts";
import { type SealedChanges, StateSeal } from "../../../src/agent/state-seal.ts";
import { isFault } from "../../../src/fault/fault.ts";
import { makeSealingKey, makeSigningKey, type SigningKey } from "../../../src/trust/keys.ts";
import type { SealedName } from "../../../src/trust/seal.ts";
import { copyTree, systemError, watchingChanges } from "../../support/watched-files.ts";
import { hostNames } from "./hosts.ts";
import { claimsOf, contentOf, type SealedHost, sealedHost, sealOf } from "./sealed-host.ts";

const fresh = hostNames();
const copies = fs.mkdtempSync(join(tmpdir(), "agentina-seal-"));
afterAll(() => fs.rmSync(copies, { recursive: true, force: true }));
let crashes = 0;

const CHANGES: SealedChanges = {
  "license.jwt": "a newer license\n",
  "quarantine.jws": null,
  "terminal.jws": "an end\n",
};

/** An agent that is quarantined: one file to change, one to remove, one to add. */
async function host(): Promise<SealedHost> {
  const here = await sealedHost(fresh());
  await here.seal.change({ "quarantine.jws": "a note\n" });
  return here;
}

const contents = (dir: string) => Object.keys(CHANGES).map((name) => contentOf(join(dir, name)));

/** Every state a crash could leave `work` in. */
async function cutsOf(dir: string, work: () => Promise<unknown>): Promise<string[]> {
  const cuts: string[] = [];
  const note = () => {
    const copy = join(copies, String(++crashes));
    copyTree(dir, copy);
    cuts.push(copy);
  };
  await watchingChanges({ after: note }, work);
  return cuts;
}

async function expectSound(seal: StateSeal): Promise<void> {
  expect((await seal.check()).findings).toEqual([]);
}

describe("a change", () => {
  test("that nobody cuts is there, under the next number", async () => {
    const { dir, identity, seal } = await host();
    const before = await seal.check();
    await seal.change(CHANGES);
    expect(contents(dir)).toEqual(Object.values(CHANGES) as string[]);
    const after = await sealOf(dir, identity).check();
    expect(after).toEqual(await seal.check());
    expect(after).toMatchObject({ ctr: before.ctr + 1, trustRoot: before.trustRoot, findings: [] });
    expect(after.root).not.toBe(before.root);
  });

  test("cut by a crash at any place is sound, ended by a check, and done by the next", async () => {
    const { dir, identity, seal } = await host();
    const before = contents(dir);
    const after = Object.values(CHANGES);
    const cuts = await cutsOf(dir, () => seal.change(CHANGES));
    expect(cuts.length).toBeGreaterThan(12);
    let highest = 0;
    const seen = new Set<string>();
    for (const cut of cuts) {
      const boot = sealOf(cut, identity);
      const looked = await boot.inspect();
      await expectSound(boot);
      expect(await boot.check()).toEqual(looked);
      expect((await claimsOf(cut, identity)).next).toBeUndefined();
      expect(looked.ctr).toBeGreaterThanOrEqual(highest);
      highest = looked.ctr;
      const now = contents(cut);
      expect(now.map((text, i) => text === before[i] || text === after[i])).toEqual([true, true, true]);
      seen.add(JSON.stringify(now));
      await boot.change(CHANGES);
      expect(contents(cut)).toEqual(after as string[]);
      await expectSound(sealOf(cut, identity));
    }
    expect(seen.size).toBe(4);
  });

  test("met by a full or read-only disk at any place throws it, stays sound, and goes through later", async () => {
    for (let failAt = 1; ; failAt++) {
      const { dir, identity, seal } = await host();
      let count = 0;
      const before = () => {
        if (++count === failAt) throw systemError(failAt % 2 === 0 ? "ENOSPC" : "EROFS");
      };
      let failed = false;
      try {
        await watchingChanges({ before }, () => seal.change(CHANGES));
      } catch (error) {
        if (!isFault(error)) throw error;
        expect(["STATE_DISK_FULL", "STATE_DIR_UNWRITABLE"]).toContain(error.code);
        failed = true;
      }
      if (!failed && count < failAt) break;
      await expectSound(sealOf(dir, identity));
      await expectSound(seal);
      await seal.change(CHANGES);
      expect(contents(dir)).toEqual(Object.values(CHANGES) as string[]);
      await expectSound(sealOf(dir, identity));
    }
  });

  test("does not cover what somebody else changed meanwhile, in another file or in one that was being changed", async () => {
    const { dir, identity, seal, at } = await host();
    fs.appendFileSync(at("trust.json"), " ");
    await seal.change(CHANGES);
    expect((await sealOf(dir, identity).check()).findings.map(({ name }) => name)).toEqual(["trust.json"]);

    const other = await host();
    for (const cut of await cutsOf(other.dir, () => other.seal.change(CHANGES))) {
      fs.writeFileSync(join(cut, "license.jwt"), "somebody's", { mode: 0o600 });
      const names = (await sealOf(cut, other.identity).check()).findings.map(({ name }) => name);
      expect(names).toEqual(["license.jwt"]);
      await sealOf(cut, other.identity).change({ "terminal.jws": null });
      expect((await sealOf(cut, other.identity).check()).findings).toHaveLength(1);
    }
  });

  test("is made one after the other, and a check in between sees none of it half done", async () => {
    const { dir, identity, seal } = await host();
    const { ctr } = await seal.check();
    const names: SealedName[] = ["license.jwt", "terminal.jws", "license.jwt", "quarantine.jws"];
    const work = names.flatMap((name, i) => [seal.change({ [name]: `text ${i}` }), expectSound(seal)]);
    await Promise.all(work);
    expect(await sealOf(dir, identity).check()).toMatchObject({ ctr: ctr + 4, findings: [] });
    expect(contents(dir)).toEqual(["text 2", "text 3", "text 1"]);
  });

  test("looked at while it is being made is never taken for meddling", async () => {
    const { dir, identity, seal } = await host();
    const other = sealOf(dir, identity);
    for (let round = 0; round < 20; round++) {
      const [, verdict] = await Promise.all([
        seal.change({ "license.jwt": `text ${round}` }),
        other.inspect(),
      ]);
      expect(verdict.findings).toEqual([]);
    }
  });

  test("flushes each file before it is renamed, and each directory before the next step", async () => {
    const { seal } = await host();
    const calls: string[] = [];
    const original = { ...fs };
    const noted = (name: "writeSync" | "fsyncSync" | "renameSync" | "rmSync") => [
      name,
      (...args: unknown[]) => {
        // Removing a leftover temporary file is no step: there is none.
        if (name !== "rmSync" || !String(args[0]).endsWith(".tmp")) calls.push(name);
        return (original[name] as (...all: unknown[]) => unknown)(...args);
      },
    ];
    const names = ["writeSync", "fsyncSync", "renameSync", "rmSync"] as const;
    mock.module("node:fs", () => ({ ...original, ...Object.fromEntries(names.map(noted)) }));
    try {
      await seal.change({ "license.jwt": "x", "quarantine.jws": null });
    } finally {
      mock.module("node:fs", () => original);
    }
    const write = ["writeSync", "fsyncSync", "renameSync", "fsyncSync"];
    expect(calls).toEqual([...write, ...write, "rmSync", "fsyncSync", ...write]);
  });
});

describe("a move to a new identity key", () => {
  async function moving(): Promise<{ here: SealedHost; newKey: SigningKey }> {
    const here = await host();
    const paths = statePaths(here.dir);
    const [identity, sealing] = [await makeSigningKey(), await makeSealingKey()];
    fs.writeFileSync(paths.nextSealingKey, sealing.pem, { mode: 0o600 });
    fs.writeFileSync(paths.nextIdentityKey, identity.pem, { mode: 0o600 });
    return { here, newKey: identity.key };
  }

  /** As a process does that has just begun: with the key in use. */
  async function boot(dir: string, { file }: Identity): Promise<{ seal: StateSeal; key: SigningKey }> {
    const key = await readIdentityKey(dir);
    if (key === null) throw new Error("no identity key");
    return { seal: StateSeal.open(dir, file.agent_id, key), key };
  }

  async function expectMoved(dir: string, identity: Identity, newKey: SigningKey): Promise<void> {
    const { seal, key } = await boot(dir, identity);
    expect(key.kid).toBe(newKey.kid);
    await expectSound(seal);
    expect(contents(dir)).toEqual(Object.values(CHANGES) as string[]);
    const keys = await readKeyPair(dir);
    expect(keys?.sealing.kid).not.toBe(identity.keys.sealing.kid);
    expect(fs.readdirSync(join(dir, "keypair")).sort()).toEqual(["identity.pem", "sealing.pem"]);
    expect(fs.existsSync(statePaths(dir).nextSeal)).toBe(false);
  }

  test("puts keys, files and seal in their places, and the same seal goes on under the new key", async () => {
    const { here, newKey } = await moving();
    const before = await here.seal.check();
    await here.seal.rekey(CHANGES, newKey);
    expect(await here.seal.check()).toMatchObject({ ctr: before.ctr + 1, trustRoot: before.trustRoot });
    await expectMoved(here.dir, here.identity, newKey);
    await here.seal.change({ "license.jwt": "the next\n" });
    await expectSound((await boot(here.dir, here.identity)).seal);
  });

  test("cut by a crash at any place is sound under whichever key is in use, and ends when it is done again", async () => {
    const { here, newKey } = await moving();
    const cuts = await cutsOf(here.dir, () => here.seal.rekey(CHANGES, newKey));
    expect(cuts.length).toBeGreaterThan(18);
    const inUse = new Set<string>();
    for (const cut of cuts) {
      const { seal, key } = await boot(cut, here.identity);
      inUse.add(key.kid);
      expect((await seal.inspect()).findings).toEqual([]);
      await expectSound(seal);
      await seal.rekey(CHANGES, newKey);
      await expectMoved(cut, here.identity, newKey);
    }
    expect(inUse).toEqual(new Set([here.identity.keys.identity.kid, newKey.kid]));
  });

  test("met by a full or read-only disk at any place stays sound, and ends when it is done again", async () => {
    for (let failAt = 1; ; failAt++) {
      const { here, newKey } = await moving();
      let count = 0;
      const before = () => {
        if (++count === failAt) throw systemError(failAt % 2 === 0 ? "ENOSPC" : "EROFS");
      };
      try {
        await watchingChanges({ before }, () => here.seal.rekey(CHANGES, newKey));
        if (count < failAt) break;
      } catch (error) {
        if (!isFault(error)) throw error;
        await expectSound((await boot(here.dir, here.identity)).seal);
        await expectSound(here.seal);
        await here.seal.rekey(CHANGES, newKey);
      }
      await expectMoved(here.dir, here.identity, newKey);
    }
  });

  test("to a key that does not wait there, or that is not the one meant, moves nothing", async () => {
    const { here, newKey } = await moving();
    const stranger = (await makeSigningKey()).key;
    await expect(here.seal.rekey({}, stranger)).rejects.toMatchObject({ code: "KEYPAIR_INVALID" });
    fs.rmSync(statePaths(here.dir).nextIdentityKey);
    await expect(here.seal.rekey({}, newKey)).rejects.toMatchObject({ code: "KEYPAIR_INVALID" });
    await expectSound((await boot(here.dir, here.identity)).seal);
  });

  test("does not let a seal in that a stranger left waiting", async () => {
    const here = await host();
    const claims = await claimsOf(here.dir, here.identity);
    const stranger = await sealedHost(fresh());
    fs.copyFileSync(stranger.at("seal.jws"), here.at("seal.next.jws"));
    fs.appendFileSync(here.at("license.jwt"), " ");
    const verdict = await sealOf(here.dir, here.identity).check();
    expect(verdict.findings.map(({ name }) => name)).toEqual(["license.jwt"]);
    expect(verdict.ctr).toBe(claims.ctr);
  });
});
