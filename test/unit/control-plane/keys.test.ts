// Goal: the Control Plane always has a key to sign with, never one that was revoked, and never a number twice; where the
// root's key is kept elsewhere, it does what it can and says what a person has to do.
// Method: rotation as pure functions over time; real key directories with a real ledger, cut and damaged.

import { afterEach, describe, expect, test } from "bun:test";
import { cp, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LedgerFile } from "../../../src/control-plane/data/ledger.ts";
import { keyView } from "../../../src/control-plane/keys/key-list.ts";
import { objectionTo, signRequest } from "../../../src/control-plane/keys/key-request.ts";
import { createKeys, type KeySource, openKeys } from "../../../src/control-plane/keys/keyring.ts";
import {
  type KeyWindow,
  planRotation,
  retire,
  revoke,
  signingWindow,
} from "../../../src/control-plane/keys/rotation.ts";
import { KEY_USES } from "../../../src/protocol/trust.ts";
import { makeSigningKey, type SigningKey } from "../../../src/trust/keys.ts";
import { openTrust, renewTrust } from "../../../src/trust/trust-set.ts";
import { faultOf } from "../../support/fault-of.ts";
import { random } from "./support/control-plane.ts";

const DAY = 86_400;
const NOW = 1_790_000_000;

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function scratch(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "agentina-keys-"));
  cleanups.push(() => rm(path, { recursive: true, force: true }));
  return path;
}

interface Place {
  readonly keys: string;
  readonly ledger: LedgerFile;
  readonly open: (nowS?: number) => Promise<KeySource>;
}

async function place(rootKey: SigningKey | null = null): Promise<Place> {
  const path = await scratch();
  const keys = join(path, "keys");
  const ledger = LedgerFile.open(join(path, "ledger.jsonl"));
  await createKeys(keys, { nowS: NOW, random, ledger, rootKey });
  const open = (nowS = NOW) =>
    openKeys(keys, { mayCreate: false, random, nowS, ledger: LedgerFile.open(join(path, "ledger.jsonl")) });
  return { keys, ledger, open };
}

const change = (over: object = {}) => ({ rotate: [], atOnce: false, revoke: [], ...over });
const signers = (source: KeySource, nowS: number) =>
  Object.fromEntries(KEY_USES.map((use) => [use, source.current().signer(use, nowS).kid]));

describe("windows", () => {
  const key = (over: Partial<KeyWindow> = {}): KeyWindow => ({
    use: "job",
    kid: "k".repeat(43),
    jwk: { kty: "OKP", crv: "Ed25519", x: "x".repeat(43) },
    nbf: NOW,
    exp: NOW + 30 * DAY,
    ...over,
  });

  test("of a key that makes room: seven days more, then its successor signs; what it signed stays good", () => {
    const [old] = retire([key()], ["job"], NOW + DAY, false);
    const next = key({ kid: "n".repeat(43), nbf: NOW + DAY, exp: NOW + 31 * DAY });
    if (old === undefined) throw new Error("it is gone");
    for (const [days, expected] of [
      [1, old],
      [7.9, old],
      [8.1, next],
    ] as const) {
      expect(signingWindow([old, next], "job", NOW + days * DAY)?.kid).toBe(expected.kid);
    }
    expect(old.exp).toBe(NOW + 9 * DAY);
  });

  test("of a key that makes room at once: the successor signs, the old one is still good for a day", () => {
    const [old] = retire([key()], ["job"], NOW + DAY, true);
    const next = key({ kid: "n".repeat(43), nbf: NOW + DAY, exp: NOW + 31 * DAY });
    if (old === undefined) throw new Error("it is gone");
    expect(signingWindow([old, next], "job", NOW + DAY)?.kid).toBe(next.kid);
    expect(old.exp).toBe(NOW + 2 * DAY);
  });

  test("of other uses are left alone, those that end sooner are not made longer, those to come are left out", () => {
    const ending = key({ exp: NOW + DAY });
    const order = key({ use: "order" });
    const coming = key({ nbf: NOW + 20 * DAY, exp: NOW + 50 * DAY });
    expect(retire([ending, order, coming], ["job"], NOW, false)).toEqual([ending, order]);
  });

  test("that were revoked stay revoked since then", () => {
    const keys = revoke(
      [key({ revoked_at: 5 }), key({ kid: "n".repeat(43) })],
      new Map([["k".repeat(43), 9]]),
    );
    expect(keys.map(({ revoked_at }) => revoked_at)).toEqual([5, undefined]);
  });

  test("for a root kept elsewhere reach as far as the key set, none longer than 30 days for jobs and orders", () => {
    const { make } = planRotation(null, NOW, 90 * DAY);
    for (const use of KEY_USES) {
      const mine = make.filter((window) => window.use === use);
      for (const { nbf, exp } of mine)
        expect(exp - nbf).toBeLessThanOrEqual((use === "license" ? 180 : 30) * DAY);
      const keys = mine.map((window, index) => key({ ...window, kid: `${index}`.padStart(43, "k") }));
      for (let day = 0; day <= 90; day++) expect(signingWindow(keys, use, NOW + day * DAY)).not.toBeNull();
    }
    expect(make.length).toBeLessThan(16);
  });

  test("are named by how they stand", () => {
    const [old] = retire([key()], ["job"], NOW, false);
    const next = key({ kid: "n".repeat(43), exp: NOW + 31 * DAY });
    const gone = key({ kid: "r".repeat(43), revoked_at: NOW });
    const keys = [old ?? next, next, gone];
    const at = (days: number) => keys.map((one) => keyView(one, keys, NOW + days * DAY).standing);
    expect(at(1)).toEqual(["signs", "next", "revoked"]);
    expect(at(7.5)).toEqual(["retired", "signs", "revoked"]);
    expect(at(9)).toEqual(["ended", "signs", "revoked"]);
    expect(keyView(keys[0] ?? next, keys, NOW).signs_until).toBe(NOW + 7 * DAY);
  });
});

describe("a key directory with its root", () => {
  test("rotates: known at once, signing in seven days, and agents take the sets one after the other", async () => {
    const { open } = await place();
    const source = await open();
    const before = signers(source, NOW);
    const known = await openTrust(source.current().document, NOW);
    await source.change(change({ rotate: ["job"] }), "", NOW + 60);
    expect(signers(source, NOW + 61)).toEqual(before);
    const set = await renewTrust(known, source.current().document, NOW + 61);
    expect(set.claims.keys.filter(({ use }) => use === "job")).toHaveLength(2);
    const later = signers(source, NOW + 60 + 7 * DAY + 1);
    expect([later["job"] === before["job"], later["order"] === before["order"]]).toEqual([false, true]);
    expect(set.keyFor("job", later["job"], NOW + 61)).not.toBeNull();
    expect(set.keyFor("job", before["job"], NOW + 7 * DAY)).not.toBeNull();
  });

  test("revokes: another key signs at once, the set says so, and a copy from before does not bring it back", async () => {
    const { keys, open } = await place();
    const source = await open();
    const copy = `${keys}.copy`;
    await cp(keys, copy, { recursive: true });
    const kid = signers(source, NOW)["order"] ?? "";
    await source.change(change({ revoke: [kid] }), "stolen", NOW + 60);
    const fresh = signers(source, NOW + 60)["order"] ?? "";
    expect(fresh).not.toBe(kid);
    const set = await openTrust(source.current().document, NOW + 60);
    expect([set.keyFor("order", kid, NOW + 60), set.keyFor("order", fresh, NOW + 60) === null]).toEqual([
      null,
      false,
    ]);

    await rm(keys, { recursive: true });
    await cp(copy, keys, { recursive: true });
    const again = await open(NOW + 120);
    expect(signers(again, NOW + 120)["order"]).not.toBe(kid);
    const healed = await openTrust(again.current().document, NOW + 120);
    expect(healed.keyFor("order", kid, NOW + 120)).toBeNull();
    expect(healed.claims.seq).toBeGreaterThan(set.claims.seq);
  });

  test("cut between ledger and key set, makes the revocation good at the next start", async () => {
    const { ledger, open } = await place();
    const kid = signers(await open(), NOW)["license"] ?? "";
    ledger.append(
      { type: "key_revoked", use: "license", kid, revoked_at: NOW, reason: "stolen" },
      NOW * 1000,
    );
    const again = await open();
    expect(again.current().claims.keys.find((row) => row.kid === kid)?.revoked_at).toBe(NOW);
    expect(signers(again, NOW)["license"]).not.toBe(kid);
  });

  test("knows no key of that name; does not grow without end; keeps no private half it does not need", async () => {
    const { keys, open } = await place();
    const source = await open();
    expect((await faultOf(source.change(change({ revoke: ["x".repeat(43)] }), "", NOW))).code).toBe(
      "KEY_UNKNOWN",
    );
    let refused = "";
    for (let i = 1; i < 60 && refused === ""; i++) {
      refused = await source.change(change({ rotate: KEY_USES, atOnce: true }), "", NOW + i).then(
        () => "",
        (error: { code: string }) => error.code,
      );
    }
    expect(refused).toBe("KEY_SET_FULL");
    expect(await source.renew(NOW + 400 * DAY)).toBeTrue();
    const pems = (await readdir(keys)).filter((name) => /^(job|order|license)-/.test(name));
    expect(pems).toHaveLength(source.current().claims.keys.length);
    expect(source.findings(NOW + 400 * DAY)).toEqual([]);
  });

  test("remembers every set it published", async () => {
    const { open } = await place();
    const source = await open();
    await source.change(change({ rotate: ["license"] }), "", NOW + 60);
    const history = await source.history();
    const seqs = (await Promise.all(history.map((document) => openTrust(document, 0)))).map(
      ({ claims }) => claims.seq,
    );
    expect(seqs).toEqual([1, 2]);
  });

  test("signs nothing for others and asks nobody", async () => {
    const source = await (await place()).open();
    expect((await faultOf(source.request(change(), NOW))).code).toBe("CONTROL_ROOT_PRESENT");
    expect((await faultOf(source.install(source.current().document, NOW))).code).toBe("CONTROL_ROOT_PRESENT");
  });
});

describe("a key directory whose root is elsewhere", () => {
  const offline = async () => {
    const root = (await makeSigningKey()).key;
    return { root, ...(await place(root)) };
  };

  test("serves, warns a month before the end, refuses nothing early, and says what to do after it", async () => {
    const { keys, open } = await offline();
    expect(await readdir(keys)).not.toContain("root.pem");
    const source = await open();
    expect(source.findings(NOW)).toEqual([]);
    expect(source.findings(NOW + 61 * DAY).map(({ code }) => code)).toContain("KEYS_TRUST_EXPIRES");
    for (let day = 0; day < 90; day++) signers(source, NOW + day * DAY);
    expect(await source.renew(NOW + 80 * DAY)).toBeFalse();
    const late = await open(NOW + 400 * DAY);
    expect(
      late
        .findings(NOW + 400 * DAY)
        .map(({ code }) => code)
        .sort(),
    ).toEqual(["KEYS_ENDED", "KEYS_ENDED", "KEYS_ENDED", "KEYS_TRUST_EXPIRED"]);
    const end = await faultOf((async () => late.current().signer("job", NOW + 400 * DAY))());
    expect([end.code, end.remedy.includes("keys request")]).toEqual(["CONTROL_KEYS_EXPIRED", true]);
    const refused = await faultOf(source.change(change({ rotate: ["job"] }), "", NOW));
    expect([refused.code, refused.remedy.includes("keys request")]).toEqual(["CONTROL_ROOT_ABSENT", true]);
  });

  test("asks, is signed for, installs, and goes on for 90 days more; also when it was expired", async () => {
    for (const at of [NOW + 60 * DAY, NOW + 400 * DAY]) {
      const { root, open } = await offline();
      const source = await open(at);
      const before = await openTrust(source.current().document, 0);
      const request = await source.request(change(), at);
      expect([request.root, objectionTo(request)]).toEqual([root.kid, null]);
      await source.install(await signRequest(request, root), at + 60);
      expect(source.findings(at + 60)).toEqual([]);
      for (let day = 1; day < 90; day++) signers(source, at + day * DAY);
      await renewTrust(before, source.current().document, at + 60);
      expect(signers(await open(at + 60), at + 60)).toEqual(signers(source, at + 60));
    }
  });

  test("installs a revocation, which is in force from then on", async () => {
    const { root, open } = await offline();
    const source = await open();
    const kid = signers(source, NOW)["job"] ?? "";
    await source.install(
      await signRequest(await source.request(change({ revoke: [kid] }), NOW), root),
      NOW + 60,
    );
    expect(signers(source, NOW + 60)["job"]).not.toBe(kid);
    expect((await open(NOW + 61)).current().trust.keyFor("job", kid, NOW)).toBeNull();
  });

  test("refuses sets of another root, older ones, altered ones, and ones whose keys are not here", async () => {
    const { root, open } = await offline();
    const source = await open();
    const other = (await makeSigningKey()).key;
    const request = await source.request(change({ rotate: ["job"] }), NOW);
    const why = async (document: Parameters<KeySource["install"]>[0], at = NOW) => {
      const refused = await faultOf(source.install(document, at));
      expect(refused.code).toBe("KEY_SET_REFUSED");
      return refused.message;
    };
    expect(await why(await signRequest(request, other))).toContain("another root");
    expect(await why({ ...(await signRequest(request, other)), root: root.jwk })).toContain("no trusted key");
    const with_ = (claims: object) =>
      signRequest({ ...request, claims: { ...request.claims, ...claims } }, root);
    expect(await why(await with_({ seq: 1 }))).toContain("not above 1");
    expect(await why(await with_({ fp_salt: "s".repeat(22) }))).toContain("salt");
    expect(await why(await with_({ keys: [] }))).toContain("no job key");
    const foreign = { ...request.claims.keys[0], kid: other.kid, jwk: other.jwk };
    expect(await why(await with_({ keys: [...request.claims.keys, foreign] }))).toContain("is not here");
    expect(await why(await signRequest(request, root), NOW + 100 * DAY)).toContain("expired");
    await source.request(change({ rotate: KEY_USES }), NOW + 5); // takes the place of the request before
    expect(await why(await signRequest(request, root))).toContain("is not here");
    expect(source.current().claims.seq).toBe(1);
  });

  test("has a root that signs no key beyond its bounds, whoever asks", async () => {
    const source = await (await offline()).open();
    const request = await source.request(change(), NOW);
    const [key, ...others] = request.claims.keys;
    if (key === undefined) throw new Error("no key");
    const asked = (claims: object) => objectionTo({ ...request, claims: { ...request.claims, ...claims } });
    expect(asked({ exp: NOW + 91 * DAY })).toContain("longer than 90 days");
    expect(asked({ keys: [{ ...key, exp: key.nbf + 31 * DAY }, ...others] })).toContain(
      "longer than 30 days",
    );
    expect(asked({ keys: [{ ...key, nbf: NOW + 95 * DAY, exp: NOW + 99 * DAY }] })).toContain(
      "after the key set's end",
    );
    expect(asked({ keys: [{ ...key, exp: key.nbf }] })).not.toBeNull();
  });
});
