// Goal: keys are believed only under the pinned root, inside their windows, and never older ones after newer ones.
// Method: real documents, signed by the right and the wrong root, with everything changed that can be.

import { beforeAll, describe, expect, test } from "bun:test";
import { isFault } from "../../../src/fault/fault.ts";
import { TYP } from "../../../src/protocol/trust.ts";
import { makeSigningKey, tokenThumbprint } from "../../../src/trust/keys.ts";
import { signJws } from "../../../src/trust/sign-jws.ts";
import { openTrust, pinTrust, renewTrust } from "../../../src/trust/trust-set.ts";
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
  expect(await codeOf(trustOf(world.root, { ...world.trustClaims, extra: 1 }))).toBe("JWS_MALFORMED");
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
});
