// Goal: an admin's order takes over what was changed, under a higher number, and nothing he could not have meant: no file
// that was put beside, no other trust root, no other identity key.
// Method: an agent activated for real, one deed, the order; then a check by a process that has just begun.

import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { jsonText, statePaths } from "../../../src/agent/state-files.ts";
import { copyTree, watchingChanges } from "../../support/watched-files.ts";
import { hostNames } from "./hosts.ts";
import { claimsOf, type SealedHost, sealedHost, sealOf } from "./sealed-host.ts";

const fresh = hostNames();
const host = () => sealedHost(fresh());

/** What is found before the order and, by a new process, after it. */
async function resealed(here: SealedHost, ctr = 100): Promise<[string[], string[]]> {
  const names = async () => {
    const { findings } = await sealOf(here.dir, here.identity).check();
    return findings.map(({ code, name }) => `${code} ${name}`);
  };
  const before = await names();
  await sealOf(here.dir, here.identity).reseal(ctr);
  return [before, await names()];
}

describe("resealing takes over", () => {
  test("changed and missing files, under the number of the order, with the same trust root", async () => {
    const here = await host();
    await here.seal.change({ "quarantine.jws": "a note" });
    fs.appendFileSync(here.at("license.jwt"), "\n");
    fs.appendFileSync(here.at("keypair/identity.pem"), "\n");
    fs.rmSync(here.at("quarantine.jws"));
    const { trustRoot } = await here.seal.check();
    expect(await resealed(here)).toEqual([
      ["SEAL_MODIFIED license.jwt", "SEAL_MODIFIED keypair/identity.pem", "SEAL_MISSING quarantine.jws"],
      [],
    ]);
    expect(await sealOf(here.dir, here.identity).check()).toMatchObject({ ctr: 100, trustRoot });
    await sealOf(here.dir, here.identity).change({ "license.jwt": "the next" });
    expect((await sealOf(here.dir, here.identity).check()).ctr).toBe(101);
  });

  test("a key set the same root has signed", async () => {
    const here = await host();
    fs.writeFileSync(statePaths(here.dir).trust, jsonText({ ...here.identity.trust.document }).trim());
    expect(await resealed(here)).toEqual([["SEAL_MODIFIED trust.json"], []]);
  });

  test("a lost seal, from what the running process knows of it", async () => {
    const here = await host();
    await here.seal.check();
    fs.rmSync(here.at("seal.jws"));
    fs.appendFileSync(here.at("license.jwt"), "\n");
    await here.seal.reseal(7);
    expect(await sealOf(here.dir, here.identity).check()).toMatchObject({ ctr: 7, findings: [] });
  });
});

describe("resealing never takes over", () => {
  test("a file that was not sealed before, nor a stray, nor a missing necessary one, nor a link", async () => {
    const here = await host();
    for (const name of ["terminal.jws", "notes"]) fs.writeFileSync(here.at(name), "x", { mode: 0o600 });
    fs.rmSync(here.at("license.jwt"));
    fs.renameSync(here.at("agent.json"), join(here.dir, "..", "agent.json"));
    fs.symlinkSync("../agent.json", here.at("agent.json"));
    const [before, after] = await resealed(here);
    expect(after).toEqual(before);
    expect(before).toHaveLength(4);
  });

  test("another trust root or identity key, whatever else it takes", async () => {
    const [here, other] = [await host(), await host()];
    fs.appendFileSync(here.at("license.jwt"), "\n");
    fs.copyFileSync(other.at("trust.json"), here.at("trust.json"));
    const { trustRoot } = await here.seal.check();
    const [, after] = await resealed(here);
    expect(after).toEqual(["SEAL_MODIFIED trust.json"]);
    expect((await sealOf(here.dir, here.identity).check()).trustRoot).toBe(trustRoot);
    fs.copyFileSync(other.at("keypair/identity.pem"), here.at("keypair/identity.pem"));
    expect((await resealed(here, 101))[1]).toEqual([
      "SEAL_MODIFIED trust.json",
      "SEAL_MODIFIED keypair/identity.pem",
    ]);
    fs.writeFileSync(here.at("keypair/identity.pem"), "no key");
    expect((await resealed(here, 102))[1]).toEqual([
      "SEAL_MODIFIED trust.json",
      "SEAL_MODIFIED keypair/identity.pem",
    ]);
  });

  test("anything under a number that is not above its own, or while no seal has ever held", async () => {
    const here = await host();
    const { ctr } = await here.seal.check();
    fs.appendFileSync(here.at("license.jwt"), "\n");
    for (const number of [ctr, ctr - 1]) {
      await expect(here.seal.reseal(number)).rejects.toMatchObject({ code: "ORDER_NOT_APPLICABLE" });
    }
    fs.rmSync(here.at("seal.jws"));
    await expect(sealOf(here.dir, here.identity).reseal(100)).rejects.toMatchObject({
      code: "STATE_TAMPERED",
    });
    expect(fs.existsSync(here.at("seal.jws"))).toBe(false);
  });
});

test("cut by a crash at any place, the files are found changed, or taken over", async () => {
  const here = await host();
  fs.appendFileSync(here.at("license.jwt"), "\n");
  const numbers = new Set<number>();
  const cuts: string[] = [];
  const after = () => {
    copyTree(here.dir, `${here.dir}-${cuts.length}`);
    cuts.push(`${here.dir}-${cuts.length}`);
  };
  await watchingChanges({ after }, () => here.seal.reseal(50));
  for (const cut of cuts) {
    const { ctr, findings } = await sealOf(cut, here.identity).check();
    expect(findings.map(({ name }) => name)).toEqual(ctr === 50 ? [] : ["license.jwt"]);
    expect((await claimsOf(cut, here.identity)).next).toBeUndefined();
    numbers.add(ctr);
  }
  expect(numbers.size).toBe(2);
});
