// Goal: an agent that starts on whatever is left of its state directory knows what it can still believe, and never more:
// no key set but one under the sealed root, nobody's license but its own.
// Method: agents activated for real; each part taken away or exchanged; journals with newer documents, true and false.

import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { type Boot, loadForBoot } from "../../../src/agent/identity.ts";
import { Journal } from "../../../src/agent/journal.ts";
import { statePaths } from "../../../src/agent/state-files.ts";
import { faultOf } from "../../support/fault-of.ts";
import { ActivationDesk } from "./activation-desk.ts";
import { hostNames, tree } from "./hosts.ts";

const fresh = hostNames();

async function activated() {
  using desk = await ActivationDesk.open();
  const dir = fresh();
  const { agent_id } = await desk.activate(dir);
  const nowS = desk.time.nowS();
  const paths = statePaths(dir);
  const boot = (journal: Journal | null = null, atS = nowS) => loadForBoot(dir, journal, atS);
  return { dir, paths, boot, agent_id, nowS, authority: desk.control.authority };
}

const named = (boot: Boot) => boot.verdict.findings.map(({ code, name }) => `${code} ${name}`);

function tampered(boot: Boot): Extract<Boot, { standing: "tampered" }> {
  if (boot.standing !== "tampered") throw new Error("it is sound");
  return boot;
}

test("an untouched state directory is sound, and gives what a strict reader gives", async () => {
  const { boot, agent_id } = await activated();
  const found = await boot();
  expect(found.verdict).toMatchObject({ ctr: 1, findings: [] });
  if (found.standing !== "sound") throw new Error("it is not sound");
  expect<string>(found.identity.file.agent_id).toBe(agent_id);
  expect(found.verdict.trustRoot).toMatch(/^[A-Za-z0-9_-]{43}$/);
});

describe("inactive is", () => {
  test("an empty directory, and one that holds keys only", async () => {
    const dir = fresh();
    fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
    expect((await faultOf(loadForBoot(dir, null, 0))).code).toBe("STATE_INACTIVE");
    const { paths, boot } = await activated();
    for (const path of [paths.agent, paths.seal]) fs.rmSync(path);
    expect((await faultOf(boot())).code).toBe("STATE_INACTIVE");
  });

  test("not one whose seal speaks of an agent.json that is gone", async () => {
    const { paths, boot } = await activated();
    fs.rmSync(paths.agent);
    const found = tampered(await boot());
    expect(named(found)).toEqual(["SEAL_MISSING agent.json"]);
    expect([found.remnant, found.seal]).toEqual([null, null]);
  });
});

describe("without", () => {
  test("a usable identity key or agent.json nothing can be told, and the file is named", async () => {
    type Paths = ReturnType<typeof statePaths>;
    const deeds: readonly (readonly [string, (paths: Paths) => void])[] = [
      ["SEAL_MISSING keypair/identity.pem", (paths) => fs.rmSync(paths.identityKey)],
      ["SEAL_MODIFIED keypair/identity.pem", (paths) => fs.writeFileSync(paths.identityKey, "no key")],
      ["SEAL_MODIFIED keypair/identity.pem", (paths) => fs.truncateSync(paths.identityKey, 2 ** 33)],
      ["SEAL_MODIFIED agent.json", (paths) => fs.writeFileSync(paths.agent, "{")],
      ["SEAL_SYMLINK agent.json", (paths) => relinked(paths.agent)],
    ];
    for (const [finding, deed] of deeds) {
      const { paths, boot } = await activated();
      deed(paths);
      const found = tampered(await boot());
      expect(named(found)).toEqual([finding]);
      expect(found.remnant).toBeNull();
    }
  });
  function relinked(path: string): void {
    fs.renameSync(path, join(path, "../../agent.json"));
    fs.symlinkSync("../agent.json", path);
  }

  test("the sealing key, the license or the fingerprint it can still be told", async () => {
    const { paths, boot } = await activated();
    fs.rmSync(paths.sealingKey);
    fs.writeFileSync(paths.license, "no license");
    fs.rmSync(paths.fingerprint);
    const { remnant, seal } = tampered(await boot());
    expect(seal).not.toBeNull();
    expect(remnant).toMatchObject({ sealing: null, license: null, fingerprint: null });
    expect(remnant?.identity.kid).toBeDefined();
  });

  test("the license file, the journal's is as good, if it is this agent's", async () => {
    for (const [jkt, kept] of [
      [undefined, true],
      ["A".repeat(43), false],
    ] as const) {
      const { paths, boot, authority } = await activated();
      const text = await authority.license(jkt === undefined ? {} : { cnf: { jkt } });
      const journal = Journal.open(paths.journal);
      journal.writeMeta("license", text);
      fs.rmSync(paths.license);
      const { remnant } = tampered(await boot(journal));
      expect(remnant?.license !== null).toBe(kept);
      journal.close();
    }
  });

  test("a key set under the sealed root nothing is believed, from the file or from the journal", async () => {
    const [here, other] = [await activated(), await activated()];
    fs.copyFileSync(other.paths.trust, here.paths.trust);
    expect(tampered(await here.boot()).remnant).toBeNull();
    const journal = Journal.open(here.paths.journal);
    journal.writeMeta("trust", JSON.stringify(await other.authority.trustDocument()));
    expect(tampered(await here.boot(journal)).remnant).toBeNull();
    const forged = await here.authority.trustDocument(other.authority.keys.root);
    journal.writeMeta("trust", JSON.stringify({ ...forged, root: here.authority.keys.root.jwk }));
    expect(tampered(await here.boot(journal)).remnant).toBeNull();
    journal.writeMeta("trust", JSON.stringify(await here.authority.trustDocument()));
    const { remnant } = tampered(await here.boot(journal));
    expect(remnant?.trust.document.root).toEqual(here.authority.keys.root.jwk);
    expect(tampered(await here.boot(journal, here.nowS + 91 * 86_400)).remnant).toBeNull();
    journal.close();
  });

  test("a seal that holds, no key set is believed", async () => {
    const { paths, boot } = await activated();
    fs.rmSync(paths.seal);
    const found = tampered(await boot());
    expect(named(found)).toEqual(["SEAL_ABSENT seal.jws"]);
    expect(found.remnant).toBeNull();
  });
});

test("another agent's identity key is named as the file that was exchanged", async () => {
  const [here, other] = [await activated(), await activated()];
  fs.copyFileSync(other.paths.identityKey, here.paths.identityKey);
  const found = tampered(await here.boot());
  expect(named(found)).toEqual(["SEAL_MODIFIED keypair/identity.pem", "SEAL_INVALID seal.jws"]);
  expect(found.remnant).toBeNull();
});

test("another agent's agent.json is named by itself, and the seal still holds", async () => {
  const [here, other] = [await activated(), await activated()];
  fs.copyFileSync(other.paths.agent, here.paths.agent);
  const found = tampered(await here.boot());
  expect(named(found)).toEqual(["SEAL_MODIFIED agent.json"]);
  expect(found.verdict.trustRoot).not.toBeNull();
});

test("a journal whose receipts were altered is tampered with", async () => {
  const { paths, boot } = await activated();
  const journal = Journal.open(paths.journal);
  journal.writeDocument("receipt_head", { seq: 3, sha256: "0".repeat(64) });
  const found = tampered(await boot(journal));
  expect(named(found)).toEqual(["JOURNAL_ALTERED journal.db"]);
  expect(found.remnant?.license).not.toBeNull();
  journal.close();
});

test("what is wrong without anybody's meddling is still the fault it is", async () => {
  const { boot, nowS, paths, authority } = await activated();
  expect((await faultOf(boot(null, nowS + 91 * 86_400))).code).toBe("TRUST_EXPIRED");
  const journal = Journal.open(paths.journal);
  journal.writeMeta("license", await authority.license({ cnf: { jkt: "A".repeat(43) } }));
  expect((await faultOf(boot(journal))).code).toBe("LICENSE_INVALID");
  journal.close();
});

test("who only looks writes nothing", async () => {
  const { dir, nowS, paths } = await activated();
  fs.appendFileSync(paths.license, " ");
  const before = tree(dir);
  expect(named(await loadForBoot(dir, null, nowS, "inspect"))).toEqual(["SEAL_MODIFIED license.jwt"]);
  expect(tree(dir)).toEqual(before);
});
