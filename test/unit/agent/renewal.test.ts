// Goal: trust and license are renewed by what the pinned root and the license key signed and by nothing else, and what was
// refused is neither used now nor found by the next life.
// Method: replies with good and bad trust and license documents; then a look at journal, files and the next start.

import { describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { loadIdentity } from "../../../src/agent/identity.ts";
import * as state from "../../../src/agent/state-files.ts";
import { makeSealingKey, makeSigningKey } from "../../../src/trust/keys.ts";
import { type Authority, anySigningKey, FINGERPRINT, makeKeys } from "../../support/authority.ts";
import { answers, html, unreachable } from "../../support/lies.ts";
import { World } from "./world.ts";

const started = async () => {
  const world = await World.make();
  return await world.start();
};
const beat = async (world: World) => {
  world.agent.news();
  await world.time.advance(3_000);
};

/** A document of this Control Plane's name under somebody else's root. */
async function foreignTrust(authority: Authority) {
  const keys = await makeKeys();
  return await authority.trustDocument(keys.root, authority.trustOf(keys, 99));
}

describe("trust in a reply", () => {
  test("newer, under the pinned root: in force at once, in the journal, handed on", async () => {
    await using world = await started();
    const { authority } = world.control;
    const before = authority.keys.order;
    await authority.rotate();
    world.control.extra = { trust: await authority.trustDocument() };
    const after = authority.keys;
    authority.keys = { ...after, order: before }; // the reply itself is signed with a key the agent knows
    await beat(world);
    authority.keys = after;
    const claims = await world.startJob();
    expect(world.row(claims)?.state).toBe("running");
    expect(world.journal.readMeta("trust")).toContain(after.root.jwk.x);
    expect(world.persisted.at(-1)?.trust.claims.seq).toBe(2);
    expect(world.heard("beat.failed")).toEqual([]);
  });

  test.each([
    ["another root", foreignTrust],
    [
      "an older number",
      (a: Authority) =>
        a.trustDocument(a.keys.root, { ...a.trustClaims, seq: 1, iat: a.trustClaims.iat - 1 }),
    ],
    [
      "no signature of the root",
      async (a: Authority) => ({ ...(await foreignTrust(a)), root: a.keys.root.jwk }),
    ],
    [
      "a time long past",
      (a: Authority) =>
        a.trustDocument(a.keys.root, { ...a.trustClaims, seq: 9, exp: a.trustClaims.iat - 100 }),
    ],
  ])("of %s is refused, now and for the next life", async (_, forge) => {
    await using world = await started();
    const { authority } = world.control;
    authority.trustClaims = { ...authority.trustClaims, seq: 2 };
    world.control.extra = { trust: await authority.trustDocument() };
    await beat(world);
    const good = world.journal.readMeta("trust");
    expect(good).not.toBeNull();
    world.control.extra = { trust: await forge(authority) };
    await beat(world);
    expect(world.heard("trust.refused")).toHaveLength(1);
    expect(world.journal.readMeta("trust")).toBe(good);
    expect(world.persisted).toHaveLength(1);
    expect(world.heard("beat.failed")).toEqual([]); // the rest of the reply counts
  });
});

describe("a license in a reply", () => {
  test.each([
    ["of another key", async (a: Authority) => a.license({ cnf: { jkt: (await anySigningKey()).kid } })],
    [
      "for another agent",
      (a: Authority) => a.license({ sub: `agt_${"z".repeat(20)}` as Authority["agent"]["id"] }),
    ],
    ["signed with the job key", (a: Authority) => a.license({}, a.keys.job)],
    [
      "of another Control Plane",
      (a: Authority) => a.license({ iss: `cp_${"z".repeat(20)}` as Authority["issuer"] }),
    ],
    ["that is none", async () => "rubbish"],
  ])("%s is refused, now and for the next life", async (_, forge) => {
    await using world = await started();
    world.control.extra = { license: await forge(world.control.authority) };
    await beat(world);
    expect(world.heard("license.refused")).toHaveLength(1);
    expect(world.journal.readMeta("license")).toBeNull();
    expect(world.persisted).toEqual([]);
    const claims = await world.startJob();
    expect(world.row(claims)?.state).toBe("running");
  });

  test("with other terms: in force at once", async () => {
    await using world = await started();
    world.control.extra = {
      license: await world.control.authority.license({ max_concurrent_tasks_per_agent: 9 }),
    };
    await beat(world);
    await beat(world);
    expect(world.control.beats.at(-1)?.capacity.max).toBe(9);
    expect(world.pool.sizes).toEqual([9]);
  });
});

describe("an agent that was away while all keys were replaced", () => {
  test("fetches the new ones, which its root must have signed, and goes on", async () => {
    await using world = await started();
    await world.control.authority.rotate();
    await beat(world);
    await world.time.advance(10_000);
    expect(world.heard("trust.renewed")).toEqual([{ seq: 2 }]);
    expect(world.journal.readMeta("trust")).not.toBeNull();
    const claims = await world.startJob();
    expect(world.row(claims)?.state).toBe("running");
    expect(world.control.violations).toEqual([]);
  });

  test.each([
    ["is not there", unreachable],
    ["is a login page", html],
    ["is broken", answers(500)],
    ["is somebody else's", null],
  ])("goes on asking when the answer %s, and believes nothing", async (_, lie) => {
    await using world = await started();
    const { authority } = world.control;
    const foreign = await foreignTrust(authority);
    await authority.rotate();
    world.control.always("trust", lie ?? (async () => world.control.json(foreign)));
    await beat(world);
    await world.time.advance(120_000);
    expect(world.heard("trust.renewed")).toEqual([]);
    expect(world.heard("trust.unrenewed").length).toBeGreaterThan(2);
    expect(world.journal.readMeta("trust")).toBeNull();
    world.control.always("trust", null);
    await world.time.advance(120_000);
    expect(world.heard("trust.renewed")).toHaveLength(1);
  });
});

describe("the next life", () => {
  const stateOf = async (world: World) => {
    const dir = join(world.dir, "state");
    mkdirSync(dir, { mode: 0o700 });
    mkdirSync(join(dir, "keypair"), { mode: 0o700 });
    const { key, pem } = await makeSigningKey();
    const sealing = await makeSealingKey();
    const { authority } = world.control;
    await world.control.enrol(world.file.agent_id, key.jwk);
    await Bun.write(join(dir, "keypair", "identity.pem"), pem);
    await Bun.write(join(dir, "keypair", "sealing.pem"), sealing.pem);
    state.writeTrustFile(dir, await authority.trustDocument());
    state.writeFingerprintFile(dir, FINGERPRINT);
    state.writeLicenseFile(dir, await authority.license());
    state.writeAgentFile(dir, world.file);
    return dir;
  };

  test("finds what the journal has before what the files have", async () => {
    await using world = await started();
    const dir = await stateOf(world);
    const { authority } = world.control;
    const newer = await authority.license({ max_concurrent_tasks_per_agent: 11 });
    world.journal.writeMeta("license", newer);
    authority.trustClaims = { ...authority.trustClaims, seq: 5 };
    world.journal.writeMeta("trust", JSON.stringify(await authority.trustDocument()));
    const identity = await loadIdentity(dir, world.journal, world.time.nowS());
    expect(identity.license.claims.max_concurrent_tasks_per_agent).toBe(11);
    expect(identity.trust.claims.seq).toBe(5);
  });

  test("takes no trust root but the one that activation pinned", async () => {
    await using world = await started();
    const dir = await stateOf(world);
    world.journal.writeMeta("trust", JSON.stringify(await foreignTrust(world.control.authority)));
    const identity = await loadIdentity(dir, world.journal, world.time.nowS());
    expect(identity.trust.claims.seq).toBe(1);
  });
});
