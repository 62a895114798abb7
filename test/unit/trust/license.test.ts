// Goal: a license counts only for the key and agent it was given to, and its time is judged to the second.
// Method: licenses signed for real with one thing wrong at a time, and the clock moved over every edge.

import { beforeAll, expect, test } from "bun:test";
import { isFault } from "../../../src/fault/fault.ts";
import { TYP } from "../../../src/protocol/trust.ts";
import { licenseStanding, openLicense } from "../../../src/trust/license.ts";
import { signJws } from "../../../src/trust/sign-jws.ts";
import { AGENT, makeWorld, NOW_S, trustOf, type World } from "./signing-world.ts";

let world: World;
beforeAll(async () => {
  world = await makeWorld();
});

async function codeOf(changes: object, over: { typ?: string; by?: "job" | "license"; jkt?: string } = {}) {
  const { typ = TYP.license, by = "license", jkt = world.agent.kid } = over;
  const text = await signJws(typ, world.keys[by], { ...world.license, ...changes });
  try {
    await openLicense(text, world.trust, { jkt, agentId: AGENT });
    return "opened";
  } catch (error) {
    return isFault(error) ? error.code : String(error);
  }
}

test("a good license opens, also before the agent knows its id", async () => {
  const text = await signJws(TYP.license, world.keys.license, world.license);
  const opened = await openLicense(text, world.trust, { jkt: world.agent.kid, agentId: null });
  expect(opened).toEqual({ claims: world.license, text });
});

test.each<[string, object, object, string]>([
  ["another issuer", { iss: `cp_${"x".repeat(20)}` }, {}, "LICENSE_INVALID"],
  ["another agent", { sub: `agt_${"x".repeat(20)}` }, {}, "LICENSE_INVALID"],
  ["another key", { cnf: { jkt: "k".repeat(43) } }, {}, "LICENSE_INVALID"],
  ["an agent that has another key", {}, { jkt: "k".repeat(43) }, "LICENSE_INVALID"],
  ["an end before its beginning", { nbf: NOW_S + 10, exp: NOW_S }, {}, "LICENSE_INVALID"],
  ["an end at its issue", { iat: NOW_S + 10, exp: NOW_S + 10 }, {}, "LICENSE_INVALID"],
  ["ten years to live", { exp: NOW_S + 3650 * 86_400 }, {}, "LICENSE_INVALID"],
  ["an issue before its key's time", { iat: NOW_S - 5000 }, {}, "LICENSE_INVALID"],
  ["an issue after its key's time", { iat: NOW_S + 100_000 }, {}, "LICENSE_INVALID"],
  ["another audience", { aud: "else" }, {}, "JWS_WRONG_CLAIMS"],
  ["no jobs at once", { max_concurrent_tasks_per_agent: 0 }, {}, "JWS_WRONG_CLAIMS"],
  ["a thousand jobs at once", { max_concurrent_tasks_per_agent: 1000 }, {}, "JWS_WRONG_CLAIMS"],
  ["an empty jti", { jti: "" }, {}, "JWS_WRONG_CLAIMS"],
  ["a job's type", {}, { typ: TYP.job }, "JWS_WRONG_TYPE"],
  ["a job key's signature", {}, { by: "job" }, "JWS_UNKNOWN_KEY"],
])("a license with %s does not open", async (_, changes, over, code) => {
  expect(await codeOf(changes, over)).toBe(code);
});

test("a license outlives the key that signed it, but not the key's revocation before it", async () => {
  const text = await signJws(TYP.license, world.keys.license, world.license);
  const rotated = world.trustClaims.keys.map((row) => ({ ...row, exp: NOW_S + 1 }));
  const later = await trustOf(world.root, { ...world.trustClaims, keys: rotated }, NOW_S + 86_400);
  expect((await openLicense(text, later, { jkt: world.agent.kid, agentId: AGENT })).claims.sub).toBe(AGENT);
  const revoked = world.trustClaims.keys.map((row) => ({ ...row, revoked_at: NOW_S - 1 }));
  const trust = await trustOf(world.root, { ...world.trustClaims, keys: revoked });
  await expect(openLicense(text, trust, { jkt: world.agent.kid, agentId: AGENT })).rejects.toMatchObject({
    code: expect.stringMatching(/^(LICENSE_INVALID|JWS_UNKNOWN_KEY)$/),
  });
  // The thief of a revoked key writes a time from before the revocation into what he signs.
  const revokedLater = world.trustClaims.keys.map((row) => ({ ...row, revoked_at: NOW_S + 10 }));
  const after = await trustOf(world.root, { ...world.trustClaims, keys: revokedLater });
  await expect(openLicense(text, after, { jkt: world.agent.kid, agentId: AGENT })).rejects.toMatchObject({
    code: "LICENSE_INVALID",
    message: expect.stringContaining("revoked"),
  });
});

test.each([
  [-61, "not_yet_valid"],
  [-60, "valid"],
  [30 * 86_400 - 1, "valid"],
  [30 * 86_400, "grace"],
  [37 * 86_400 - 1, "grace"],
  [37 * 86_400, "expired"],
])("%p seconds after its beginning it is %s", (seconds, standing) => {
  expect(licenseStanding(world.license, NOW_S + seconds)).toBe(standing as "valid");
});

test("an issue that is still to come is not valid yet, whatever its beginning says", () => {
  const claims = { ...world.license, iat: NOW_S + 3600 };
  expect(licenseStanding(claims, NOW_S)).toBe("not_yet_valid");
  expect(licenseStanding(claims, NOW_S + 3600 - 60)).toBe("valid");
});
