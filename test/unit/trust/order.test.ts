// Goal: only a genuine order, for this agent, key, epoch and process, in its time and for the first time, is followed; each
// thing wrong with one has a code of its own.
// Method: a good order, and the same spoilt in one way each.

import { describe, expect, test } from "bun:test";
import { newAgentId, newControlPlaneId } from "../../../src/protocol/ids.ts";
import type { Order, OrderClaims } from "../../../src/protocol/order.ts";
import { TYP } from "../../../src/protocol/trust.ts";
import { type OrderContext, openKeptOrder, verifyOrder } from "../../../src/trust/order.ts";
import { openQuarantine, signQuarantine } from "../../../src/trust/quarantine.ts";
import { signJws } from "../../../src/trust/sign-jws.ts";
import { Authority, anySigningKey, nonce, random } from "../../support/authority.ts";
import { faultOf } from "../../support/fault-of.ts";

const NOW_S = 1_800_000_000;
const INST = nonce();
const DRAIN: Order = { type: "drain" };

async function makeWorld() {
  const authority = await Authority.make(() => NOW_S);
  await authority.enrol(newAgentId(random), (await anySigningKey()).jwk);
  const context: OrderContext = {
    trust: await authority.trustSet(),
    license: authority.licenseClaims({ epoch: 3 }),
    jkt: authority.agent.jkt,
    inst: INST,
    lastSeq: 4,
    nowS: NOW_S,
  };
  const claims = (over: object = {}) => ({
    ...authority.orderClaims(DRAIN, { epoch: 3, seq: 5 }),
    ...over,
  });
  const sign = (over: object = {}) => signJws(TYP.order, authority.keys.order, claims(over));
  return { authority, context, claims, sign };
}
type World = Awaited<ReturnType<typeof makeWorld>>;

const codeOf = async (text: unknown, context: OrderContext) => {
  const result = await verifyOrder(text, context);
  return result.verdict === "verified" ? "verified" : result.why.code;
};

test("a good order is verified, with its claims and its text", async () => {
  const { context, claims, sign } = await makeWorld();
  const text = await sign();
  const result = await verifyOrder(text, context);
  expect(result).toMatchObject({ verdict: "verified", order: { claims: claims(), jws: text } });
});

test.each<[string, object, string]>([
  ["of another Control Plane", { iss: newControlPlaneId(random) }, "ORDER_WRONG_ISSUER"],
  ["for another agent", { aud: newAgentId(random) }, "ORDER_WRONG_AGENT"],
  ["for another key", { jkt: "k".repeat(43) }, "ORDER_WRONG_AGENT"],
  ["for another process", { order: { type: "recover", inst: nonce() } }, "ORDER_WRONG_AGENT"],
  ["for this process", { order: { type: "recover", inst: INST } }, "verified"],
  ["of the epoch before", { epoch: 2 }, "ORDER_WRONG_EPOCH"],
  ["of the epoch after", { epoch: 4 }, "ORDER_WRONG_EPOCH"],
  ["taken last", { seq: 4 }, "ORDER_REPLAYED"],
  ["taken long ago", { seq: 1 }, "ORDER_REPLAYED"],
  ["that skips numbers", { seq: 900 }, "verified"],
  ["that lives too long", { exp: NOW_S + 901 }, "ORDER_NOT_IN_TIME"],
  ["of ten years", { exp: NOW_S + 315_360_000 }, "ORDER_NOT_IN_TIME"],
  ["that ends before it begins", { nbf: NOW_S + 10, exp: NOW_S + 10 }, "ORDER_NOT_IN_TIME"],
  ["that begins just within tolerance", { iat: NOW_S + 60, nbf: NOW_S + 60, exp: NOW_S + 300 }, "verified"],
  ["that begins later", { iat: NOW_S + 61, nbf: NOW_S + 61, exp: NOW_S + 300 }, "ORDER_NOT_IN_TIME"],
  ["that ended just within tolerance", { iat: NOW_S - 900, nbf: NOW_S - 900, exp: NOW_S - 59 }, "verified"],
  ["that is over", { iat: NOW_S - 900, nbf: NOW_S - 900, exp: NOW_S - 60 }, "ORDER_NOT_IN_TIME"],
  ["of a version to come", { v: 2 }, "JWS_WRONG_CLAIMS"],
  ["with a member too many", { sudo: true }, "JWS_WRONG_CLAIMS"],
  ["to do what nobody knows", { order: { type: "explode" } }, "JWS_WRONG_CLAIMS"],
  ["that is never to end", { order: { type: "stop", grace_s: Number.MAX_SAFE_INTEGER } }, "JWS_WRONG_CLAIMS"],
  ["number zero", { seq: 0 }, "JWS_WRONG_CLAIMS"],
])("one %s", async (_, over, code) => {
  const { context, sign } = await makeWorld();
  expect(await codeOf(await sign(over), context)).toBe(code);
});

describe("one that is signed", () => {
  const tables: readonly (readonly [string, (world: World) => Promise<unknown>, string])[] = [
    [
      "by the job key",
      ({ authority, claims }) => signJws(TYP.order, authority.keys.job, claims()),
      "JWS_UNKNOWN_KEY",
    ],
    [
      "by a key nobody trusts",
      async ({ claims }) => signJws(TYP.order, await anySigningKey(), claims()),
      "JWS_UNKNOWN_KEY",
    ],
    [
      "as something else",
      ({ authority, claims }) => signJws(TYP.job, authority.keys.order, claims()),
      "JWS_WRONG_TYPE",
    ],
    [
      "and then changed",
      async ({ sign }) => {
        const [header, payload, signature] = (await sign()).split(".");
        const text = Buffer.from(payload ?? "", "base64url")
          .toString()
          .replace("drain", "resum");
        return [header, Buffer.from(text).toString("base64url"), signature].join(".");
      },
      "JWS_BAD_SIGNATURE",
    ],
    ["not at all", async () => "drain", "JWS_MALFORMED"],
    ["and no text", async () => ({ type: "drain" }), "JWS_MALFORMED"],
  ];
  test.each(tables)("%s", async (_, forge, code) => {
    const world = await makeWorld();
    expect(await codeOf(await forge(world), world.context)).toBe(code);
  });

  test("by a key whose time is over, or that was revoked, counts no more; what was kept of it does", async () => {
    const { authority, context, sign } = await makeWorld();
    const text = await sign();
    const own = { jkt: authority.agent.jkt, agentId: authority.agent.id };
    const later = { ...context, nowS: NOW_S + 61 * 86_400 };
    expect(await codeOf(text, later)).toBe("JWS_UNKNOWN_KEY");
    expect((await openKeptOrder(text, context.trust, own)).order).toEqual(DRAIN);
    authority.trustClaims = {
      ...authority.trustClaims,
      keys: authority.trustClaims.keys.map((key) => ({ ...key, revoked_at: NOW_S - 100 })),
    };
    const trust = await authority.trustSet();
    expect(await codeOf(text, { ...context, trust })).toBe("JWS_UNKNOWN_KEY");
  });

  test.each<[Partial<OrderClaims>, string]>([
    [{ aud: newAgentId(random) }, "ORDER_WRONG_AGENT"],
    [{ jkt: "k".repeat(43) }, "ORDER_WRONG_AGENT"],
    [{ iss: newControlPlaneId(random) }, "ORDER_WRONG_ISSUER"],
  ])("and kept, but %p is not followed", async (over, code) => {
    const { authority, context, sign } = await makeWorld();
    const own = { jkt: authority.agent.jkt, agentId: authority.agent.id };
    expect((await faultOf(openKeptOrder(await sign(over), context.trust, own))).code).toBe(code as never);
  });
});

test("a quarantine note is the agent's own, or nothing", async () => {
  const key = await anySigningKey();
  const iss = newAgentId(random);
  const note = {
    v: 1,
    iss,
    epoch: 2,
    code: "FINGERPRINT_MISMATCH",
    reason: "gone: tpm_ek",
    iat: NOW_S,
  } as const;
  const text = await signQuarantine(key, note);
  expect(await openQuarantine(text, key)).toEqual(note);
  expect((await faultOf(openQuarantine(text, await anySigningKey()))).code).toBe("JWS_UNKNOWN_KEY");
  expect((await faultOf(openQuarantine(`${text}A`, key))).code).toBe("JWS_MALFORMED");
});
