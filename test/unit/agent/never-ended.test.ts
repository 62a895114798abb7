// Goal: nothing but a genuine order ends or holds an agent, whatever a network, a proxy or a broken server answers.
// Method: a running job, a table of answers that are not an order, and afterwards an honest beat.

import { describe, expect, test } from "bun:test";
import { newAgentId } from "../../../src/protocol/ids.ts";
import type { Order, OrderClaims } from "../../../src/protocol/order.ts";
import { anySigningKey, nonce, random } from "../../support/authority.ts";
import { answers, html, redirect, refuses, signedWith, unreachable, unsigned } from "../../support/lies.ts";
import type { Lie, ScriptedControl } from "../../support/scripted-control.ts";
import { Living } from "./living.ts";

const TERMINAL: Order = { type: "terminal", reason: "revoked", grace_s: 0 };
const QUARANTINE: Order = { type: "quarantine", reason: "revoked" };
const ENDING: readonly Order[] = [
  TERMINAL,
  QUARANTINE,
  { type: "stop", grace_s: 0 },
  { type: "drain" },
  { type: "recover", inst: "i".repeat(22) },
  { type: "reseal", ctr: 900 },
];

/** Works on as before: its job was not touched, no order was taken, and it takes the next job. */
async function expectUnmoved(living: Living, taken = 0): Promise<void> {
  const { control } = living;
  living.control.always("heartbeat", null);
  living.control.always("token", null);
  await living.time.advance(120_000);
  expect(control.heard.at(-1)).toMatchObject({ agent: { state: "working" }, orders: { seq: taken } });
  expect(living.now.tasks[0]?.heard).toEqual([]);
  expect([living.now.exit, living.now.failure]).toEqual([null, null]);
  for (const name of ["quarantine.jws", "terminal.jws"]) expect(living.text(name)).toBeNull();
  expect(await living.status()).toMatchObject({ terminal: null, quarantine: null, hold: null });
  await living.startJob();
}

async function working(): Promise<Living> {
  const living = await Living.make();
  await living.start();
  await living.startJob();
  return living;
}

/** A held answer with these order texts, under whatever signature. */
const holds =
  (orders: (control: ScriptedControl) => Promise<string[]>): Lie =>
  async (_, exchange, control) => {
    const { beat } = JSON.parse(new TextDecoder().decode(exchange.body)) as { beat: { rid: string } };
    const time = control.time.wallMs();
    const held = { v: 1, standing: "held", time, interval_s: 60, orders: await orders(control) };
    return await control.signed(JSON.stringify(held), beat.rid);
  };

describe("an agent is not ended or held by", () => {
  const table: Readonly<Record<string, Lie>> = {
    "a 401 without words": answers(401),
    "a 401 that says revoked": refuses(401, "AGENT_REVOKED"),
    "a bearer that is taken back": refuses(401, "BEARER_INVALID"),
    "a 403": refuses(403, "AGENT_SUPERSEDED"),
    "a 404": answers(404),
    "a 410": answers(410),
    "a page": html,
    "a redirect": redirect,
    "a 500": refuses(500, "API_INTERNAL"),
    "a 503": answers(503, { "retry-after": "30" }),
    "a cut wire": unreachable,
    "a clock that is said to be wrong": refuses(401, "DPOP_INVALID", {
      headers: { date: new Date(0).toUTCString() },
    }),
    "a held answer that nobody signed": async (_, exchange, control) =>
      await unsigned(
        () => holds(async () => [await control.authority.order(TERMINAL)])(fail, exchange, control),
        exchange,
        control,
      ),
    "a held answer signed by the job key": async (_, exchange, control) =>
      await signedWith(({ authority }) => authority.keys.job)(
        () => holds(async () => [await control.authority.order(TERMINAL)])(fail, exchange, control),
        exchange,
        control,
      ),
    "a held answer without an order": holds(async () => []),
    "a held answer with rubbish for orders": holds(async () => ["terminal", "{}", "a.b.c"]),
  };
  test.each(Object.keys(table))("%s", async (name) => {
    await using living = await working();
    living.control.always("heartbeat", table[name] ?? null);
    await living.time.advance(200_000);
    await expectUnmoved(living);
  });

  test("all of it at once, tokens included, for twenty minutes", async () => {
    await using living = await working();
    living.control.always("token", refuses(401, "API_UNAUTHENTICATED"));
    living.control.always("heartbeat", refuses(401, "BEARER_INVALID"));
    await living.time.advance(1_200_000);
    await expectUnmoved(living);
  });
});

const fail = async (): Promise<Response> => {
  throw new Error("nobody asks for the honest answer");
};

describe("of orders that are not for it, in a genuine answer, it follows none and logs each", () => {
  const wrong: readonly (readonly [string, string, Partial<OrderClaims>])[] = [
    ["for another agent", "ORDER_WRONG_AGENT", { aud: newAgentId(random) }],
    ["for another key", "ORDER_WRONG_AGENT", { jkt: "k".repeat(43) }],
    ["of another epoch", "ORDER_WRONG_EPOCH", { epoch: 7 }],
    ["of yesterday", "ORDER_NOT_IN_TIME", { iat: 1, nbf: 1, exp: 800 }],
  ];
  for (const standing of ["live", "held"] as const) {
    test.each(wrong)(`%s (${standing})`, async (_, code, over) => {
      await using living = await working();
      const { control } = living;
      const orders = await Promise.all(
        ENDING.map((order, index) => control.authority.order(order, { seq: index + 1, ...over })),
      );
      if (standing === "live") control.extra = { orders };
      else
        control.next(
          "heartbeat",
          holds(async () => orders),
        );
      await living.beat();
      expect(living.now.heard("order.refused").map((fields) => fields["code"])).toEqual(
        ENDING.map(() => code),
      );
      await expectUnmoved(living);
    });
  }

  test("signed by another key", async () => {
    await using living = await working();
    const { control } = living;
    const thief = await anySigningKey();
    const { job, license } = control.authority.keys;
    control.extra = {
      orders: await Promise.all(
        [thief, job, license].map((key) => control.authority.order(TERMINAL, {}, key)),
      ),
    };
    await living.beat();
    expect(living.now.heard("order.refused").map((fields) => fields["code"])).toEqual([
      "JWS_UNKNOWN_KEY",
      "JWS_UNKNOWN_KEY",
      "JWS_UNKNOWN_KEY",
    ]);
    await expectUnmoved(living);
  });

  test("given again after it was followed", async () => {
    await using living = await working();
    const { control } = living;
    const orders = [await control.authority.order({ type: "drain" }, { seq: 1 })];
    control.extra = { orders };
    await living.beat();
    control.extra = { orders: [await control.authority.order({ type: "resume" }, { seq: 2 })] };
    await living.beat();
    control.extra = { orders };
    await living.beat();
    expect(living.now.heard("order.refused").map((fields) => fields["code"])).toEqual(["ORDER_REPLAYED"]);
    await expectUnmoved(living, 2);
  });

  test("to be recovered, for whichever process", async () => {
    await using living = await working();
    living.control.desk.give({ type: "recover", inst: living.now.inst });
    living.control.desk.give({ type: "recover", inst: nonce() });
    await living.beat();
    expect(living.control.to("rekey")).toEqual([]);
    await expectUnmoved(living, 1);
  });
});

describe("a key set that is over", () => {
  test("stops no start: nothing is believed under it, and the agent asks for a newer one by itself", async () => {
    await using living = await Living.make();
    await living.start();
    await living.end();
    const { control, time } = living;
    time.setWall(time.wallMs() + 95 * 86_400_000);
    await living.start();
    await living.beat();
    expect([living.now.exit, living.now.failure]).toEqual([null, null]);
    expect(living.now.heard("trust.expired")).toHaveLength(1);
    expect((await living.status()).findings.map(({ code }) => code)).toContain("TRUST_EXPIRED");
    await control.authority.rotate();
    await time.advance(120_000);
    expect(living.now.heard("trust.renewed")).toMatchObject([{ seq: 2 }]);
    control.extra = { license: await control.authority.license({ ...control.nextLicense }) };
    await living.beat();
    await living.startJob();
    expect((await living.status()).findings.map(({ code }) => code)).not.toContain("TRUST_EXPIRED");
  });
});
