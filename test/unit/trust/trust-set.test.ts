// Goal: keys are believed only under the pinned root, inside their windows, and never older ones after newer ones.
// Method: real documents, signed by the right and the wrong root, with everything changed that can be.

import { beforeAll, describe, expect, test } from "bun:test";
import { isFault } from "../../../src/fault/fault.ts";
import { newControlPlaneId } from "../../../src/protocol/ids.ts";
import { KEY_USES, TYP } from "../../../src/protocol/trust.ts";
import { makeSigningKey, tokenThumbprint } from "../../../src/trust/keys.ts";
import { signJws } from "../../../src/trust/sign-jws.ts";
import { openTrust, pinTrust, renewTrust } from "../../../src/trust/trust-set.ts";
import { random } from "../../support/authority.ts";
import { makeWorld, NOW_S, trustOf, type World } from "./signing-world.ts";

let world: World;
beforeAll(async () => {
  world = await makeWorld();
});

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "opened";
  } catch (error) {
    return isFault(error) ? error.code : String(error);
  }
}

const URL = "https://control.example.com/";

test("a document is pinned by the thumbprint in the token", async () => {
  const { document } = world.trust;
  const pin = await tokenThumbprint(world.root.jwk);
  expect(pin).toMatch(/^[0-9A-Za-z]{43}$/);
  expect((await pinTrust(document, pin, URL, NOW_S)).issuer).toBe(world.trust.issuer);
  const other = (await makeSigningKey()).key;
  const swapped = { ...document, root: other.jwk };
  expect(await codeOf(pinTrust(swapped, pin, URL, NOW_S))).toBe("TRUST_ROOT_MISMATCH");
  expect(await codeOf(pinTrust(document, await tokenThumbprint(other.jwk), URL, NOW_S))).toBe(
    "TRUST_ROOT_MISMATCH",
  );
});

test("signed by another root it is refused, whatever root it names", async () => {
  const other = (await makeSigningKey()).key;
  const forged = await signJws(TYP.trust, other, world.trustClaims);
  const { document } = world.trust;
  expect(await codeOf(openTrust({ ...document, trust: forged }, NOW_S))).toBe("JWS_UNKNOWN_KEY");
  expect(await codeOf(trustOf(world.root, { ...world.trustClaims, extra: 1 }))).toBe("JWS_WRONG_CLAIMS");
});

test("for longer than ninety days, or ending before it begins, it is refused", async () => {
  const { iat } = world.trustClaims;
  const living = (seconds: number) =>
    codeOf(trustOf(world.root, { ...world.trustClaims, exp: iat + seconds }, iat));
  expect(await living(90 * 86_400)).toBe("opened");
  expect(await living(90 * 86_400 + 1)).toBe("JWS_WRONG_CLAIMS");
  expect(await living(0)).toBe("JWS_WRONG_CLAIMS");
});

test("expired it is refused, as long as clocks may differ it is not", async () => {
  expect(await codeOf(trustOf(world.root, world.trustClaims, world.trustClaims.exp + 59))).toBe("opened");
  expect(await codeOf(trustOf(world.root, world.trustClaims, world.trustClaims.exp + 60))).toBe(
    "TRUST_EXPIRED",
  );
});

test("a key under another key's id is refused", async () => {
  const [first, ...others] = world.trustClaims.keys;
  if (!first) throw new Error("no keys");
  const keys = [{ ...first, kid: world.agent.kid }, ...others];
  expect(await codeOf(trustOf(world.root, { ...world.trustClaims, keys }))).toBe("JWS_MALFORMED");
});

test("a key that stands in it twice is refused: one key, one use, one window", async () => {
  const [first, second, ...others] = world.trustClaims.keys;
  if (!first || !second) throw new Error("no keys");
  const keys = [first, { ...second, kid: first.kid, jwk: first.jwk }, ...others];
  expect(await codeOf(trustOf(world.root, { ...world.trustClaims, keys }))).toBe("JWS_MALFORMED");
});

describe("a key", () => {
  test("serves its use, inside its window, unless revoked", async () => {
    const { trust, keys } = world;
    expect(trust.keyFor("job", keys.job.kid, NOW_S)).not.toBeNull();
    expect(trust.keyFor("order", keys.job.kid, NOW_S)).toBeNull();
    expect(trust.keyFor("job", undefined, NOW_S)).toBeNull();
    expect(trust.keyFor("job", "constructor", NOW_S)).toBeNull();
    expect(trust.keyFor("job", keys.job.kid, NOW_S - 1060)).not.toBeNull();
    expect(trust.keyFor("job", keys.job.kid, NOW_S - 1061)).toBeNull();
    expect(trust.keyFor("job", keys.job.kid, NOW_S + 86_459)).not.toBeNull();
    expect(trust.keyFor("job", keys.job.kid, NOW_S + 86_460)).toBeNull();
    const revoked = world.trustClaims.keys.map((row) => ({ ...row, revoked_at: NOW_S + 10 }));
    const later = await trustOf(world.root, { ...world.trustClaims, keys: revoked });
    expect(later.keyFor("job", keys.job.kid, NOW_S + 9)).not.toBeNull();
    expect(later.keyFor("job", keys.job.kid, NOW_S + 10)).toBeNull();
  });

  test("that was revoked when the set was made is revoked on a host whose clock is behind", async () => {
    const { keys } = world;
    const revoked = world.trustClaims.keys.map((row) => ({ ...row, revoked_at: NOW_S }));
    const set = await trustOf(world.root, { ...world.trustClaims, iat: NOW_S, keys: revoked });
    for (const use of KEY_USES) expect(set.keyFor(use, keys[use].kid, NOW_S - 900)).toBeNull();
  });

  test("and its successor are both good while their windows overlap, each alone outside", async () => {
    const successor = (await makeSigningKey()).key;
    const old = { use: "job", kid: world.keys.job.kid, jwk: world.keys.job.jwk, nbf: 0, exp: NOW_S } as const;
    const next = { ...old, kid: successor.kid, jwk: successor.jwk, nbf: NOW_S - 1000, exp: NOW_S + 5000 };
    const set = await trustOf(world.root, { ...world.trustClaims, keys: [old, next] });
    const good = (atS: number) => [old, next].map(({ kid }) => set.keyFor("job", kid, atS) !== null);
    expect(good(NOW_S - 2000)).toEqual([true, false]);
    expect(good(NOW_S - 500)).toEqual([true, true]);
    expect(good(NOW_S + 500)).toEqual([false, true]);
    expect(good(NOW_S + 6000)).toEqual([false, false]);
  });
});

describe("a renewed document", () => {
  const renewed = async (changes: object, root = world.root) =>
    await renewTrust(
      world.trust,
      (await trustOf(root, { ...world.trustClaims, ...changes })).document,
      NOW_S,
    );

  test("is taken when newer or the same, refused when older or of another root", async () => {
    expect((await renewed({ seq: 8 })).claims.seq).toBe(8);
    expect((await renewed({ seq: 7 })).claims.seq).toBe(7);
    expect(await codeOf(renewed({ seq: 6 }))).toBe("TRUST_ROLLED_BACK");
    const other = (await makeSigningKey()).key;
    expect(await codeOf(renewed({ seq: 8 }, other))).toBe("TRUST_ROOT_MISMATCH");
  });

  test("of another Control Plane under the same root is refused", async () => {
    expect(await codeOf(renewed({ seq: 8, iss: newControlPlaneId(random) }))).toBe("JWS_MALFORMED");
  });

  test("with the number of the one in force changes nothing, whatever it says", async () => {
    const keys = world.trustClaims.keys.map((row) => ({ ...row, exp: row.exp + 1 }));
    expect(await renewed({ seq: 7, keys })).toBe(world.trust);
  });

  test("is opened before its number is believed: expired or altered it is refused", async () => {
    const { document } = await trustOf(world.root, { ...world.trustClaims, seq: 9, exp: NOW_S + 5 });
    expect(await codeOf(renewTrust(world.trust, document, NOW_S + 65))).toBe("TRUST_EXPIRED");
    const altered = document.trust.replace(/\.(.)/, (_, first: string) => `.${first === "e" ? "f" : "e"}`);
    expect(await codeOf(renewTrust(world.trust, { ...document, trust: altered }, NOW_S))).toBe(
      "JWS_BAD_SIGNATURE",
    );
  });
});
