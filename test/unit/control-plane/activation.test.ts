// Goal: a token makes one agent of one key, under every loss, race and lie on the way.
// Method: the judgement as a table; then a real server and scripted agents over HTTP.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { judgeToken } from "../../../src/control-plane/activation/judge-token.ts";
import type { TokenRow } from "../../../src/control-plane/store/schema.ts";
import { API } from "../../../src/protocol/api.ts";
import type { LicenseClaims } from "../../../src/protocol/trust.ts";
import { ROUTES } from "../../../src/protocol/wire.ts";
import { makeSealingKey, makeSigningKey } from "../../../src/trust/keys.ts";
import { openLicense } from "../../../src/trust/license.ts";
import { makeAssertion, newNonce } from "../../../src/trust/proof.ts";
import { seal } from "../../../src/trust/sealed-box.ts";
import { mint, random, startTestControlPlane, type TestControlPlane } from "./support/control-plane.ts";
import { claimsOf, nowS, ScriptedAgent } from "./support/scripted-agent.ts";

const SECRET = "a".repeat(64);
const token = (changes: Partial<TokenRow> = {}): TokenRow => ({
  id: "0123456789ab",
  account_id: "acc_00000000000000000000" as TokenRow["account_id"],
  secret_sha256: SECRET,
  label: "",
  created_at: 0,
  expires_at: 1000,
  revoked_at: null,
  redeemed_by: null,
  redeemed_at: null,
  agent_id: null,
  ...changes,
});

describe("a token is judged", () => {
  const shown = { secretSha256: SECRET, jkt: "mine" };
  test.each([
    ["unknown", null, shown, false, 1, "TOKEN_UNKNOWN"],
    ["with a wrong secret", token(), { ...shown, secretSha256: "b".repeat(64) }, false, 1, "TOKEN_UNKNOWN"],
    ["revoked", token({ revoked_at: 1 }), shown, false, 1, "TOKEN_REVOKED"],
    ["expired", token(), shown, false, 1000, "TOKEN_EXPIRED"],
    ["in its last millisecond", token(), shown, false, 999, "redeem"],
    ["redeemed by another key", token({ redeemed_by: "theirs" }), shown, false, 1, "TOKEN_USED"],
    ["redeemed by this key, asked again", token({ redeemed_by: "mine" }), shown, false, 1, "answer_again"],
    ["and again after its time", token({ redeemed_by: "mine" }), shown, false, 9999, "answer_again"],
    ["and again after a heartbeat", token({ redeemed_by: "mine" }), shown, true, 1, "TOKEN_USED"],
  ] as const)("%s", (_, row, credentials, hasBeaten, nowMs, expected) => {
    const verdict = judgeToken(row, credentials, hasBeaten, nowMs);
    expect(verdict.verdict === "refuse" ? verdict.why.code : verdict.verdict).toBe(expected);
  });
});

let control: TestControlPlane;
beforeAll(async () => {
  control = await startTestControlPlane();
});
afterAll(async () => {
  await control.close();
});

const codeOf = (reply: { text: string }) => (JSON.parse(reply.text) as { code?: string }).code;

describe("activation", () => {
  test("gives a license that the agent's own check accepts, bound to its key and fingerprint", async () => {
    const minted = await mint(control);
    const agent = await ScriptedAgent.withKeys(control.url, minted);
    const reply = await agent.activate(minted);
    expect(reply.status).toBe(200);
    expect(reply.json.slot).toEqual({ held: true, max_agents: 10 });
    const own = { jkt: agent.identity.kid, agentId: reply.json.agent_id };
    const { claims } = await openLicense(reply.json.license, agent.trust, own);
    expect(claims).toMatchObject({ plan: "default", kinds: ["test.run"], epoch: 1, era: 1, weak: false });
    expect(claims.exp - claims.iat).toBe(30 * 86_400);
  });

  test("says the license is weak when little is known of the host", async () => {
    const minted = await mint(control);
    const agent = await ScriptedAgent.withKeys(control.url, minted);
    const fingerprint = { v: 1, components: { machine_id: "m".repeat(22) }, id: `fp_${"e".repeat(32)}` };
    const reply = await agent.activate(minted, { fingerprint });
    expect(claimsOf<LicenseClaims>(reply.json.license).weak).toBeTrue();
  });

  test("answers the same key alike until its first heartbeat, whatever the time and a restart", async () => {
    const minted = await mint(control, { ttl_s: 30 });
    const agent = await ScriptedAgent.withKeys(control.url, minted);
    const first = await agent.activate(minted);
    control.shift(31_000);
    await control.restart();
    const again = await agent.activate(minted);
    control.shift(-31_000);
    expect(again.json).toEqual(first.json);
    await agent.signIn();
    await agent.beat();
    expect(codeOf(await agent.activate(minted))).toBe("TOKEN_USED");
  });

  test("lets one of many keys win when they race, and costs a loser nothing", async () => {
    const minted = await mint(control);
    const agents = await Promise.all([1, 2, 3, 4].map(() => ScriptedAgent.withKeys(control.url, minted)));
    const replies = await Promise.all(agents.map((agent) => agent.activate(minted)));
    expect(replies.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(replies.filter(({ status }) => status === 403).map(codeOf)).toEqual(Array(3).fill("TOKEN_USED"));
  });

  test("refuses a token that was revoked, is past its time, or has another secret", async () => {
    const revoked = await mint(control);
    const id = revoked.split("_")[1] ?? "";
    expect((await control.api("DELETE", API.token(id))).status).toBe(200);
    const agent = await ScriptedAgent.withKeys(control.url, revoked);
    expect(codeOf(await agent.activate(revoked))).toBe("TOKEN_REVOKED");
    expect(codeOf(await agent.activate(revoked, { secret: "x".repeat(43) }))).toBe("TOKEN_UNKNOWN");
    expect((await control.api("DELETE", API.token("000000000000"))).status).toBe(404);
    const brief = await mint(control, { ttl_s: 30 });
    control.shift(30_001);
    expect(codeOf(await agent.activate(brief))).toBe("TOKEN_EXPIRED");
    control.shift(-30_001);
  });

  test("refuses what is sealed for somebody else, to another key, or holds another identity", async () => {
    const minted = await mint(control);
    const agent = await ScriptedAgent.withKeys(control.url, minted);
    const id = minted.split("_")[1] ?? "";
    const elsewhere = await seal(new TextEncoder().encode("{}"), (await makeSealingKey()).key);
    const unreadable = [elsewhere, "a.b.c.d.e", await seal(Buffer.from("{}"), agent.trust.claims.enrol)];
    for (const sealed of unreadable) {
      const json = { v: 1, token_id: id, sealed };
      const reply = await agent.send("POST", ROUTES.activate, { json, anonymous: true });
      expect([reply.status, reply.json.code]).toEqual([400, "ACTIVATION_UNREADABLE"]);
    }
    const { jwk } = (await makeSigningKey()).key;
    expect(codeOf(await agent.activate(minted, { identity_jwk: jwk }))).toBe("DPOP_INVALID");
    expect((await agent.activate(minted)).status).toBe(200);
  });

  test("keeps nothing of a token but its hash, and writes no secret into its log", async () => {
    const minted = await mint(control);
    await ScriptedAgent.enrol(control.url, minted);
    const secret = minted.split("_")[2] ?? "";
    const { root } = control.running().paths;
    const wal = await Bun.file(`${root}/control.db-wal`).text();
    expect(wal.includes(secret)).toBeFalse();
    expect(control.log.join("\n")).not.toContain(secret);
    expect(control.log.join("\n")).not.toContain(control.adminKey);
  });

  test("beyond the plan's agents waits, and is full when too many wait; a token is not spent on that", async () => {
    const small = await startTestControlPlane();
    try {
      await small.api("PUT", API.accountPlan, { max_agents: 1 });
      const holder = await ScriptedAgent.enrol(small.url, await mint(small));
      for (let position = 1; position <= 12; position++) {
        const minted = await mint(small);
        const waiting = await ScriptedAgent.withKeys(small.url, minted);
        const { slot } = (await waiting.activate(minted)).json;
        expect(slot).toEqual({ held: false, position, max_agents: 1, holders: ["host-a"] });
      }
      const late = await mint(small);
      const agent = await ScriptedAgent.withKeys(small.url, late);
      const refused = await agent.activate(late);
      expect([refused.status, codeOf(refused), refused.headers.get("retry-after")]).toEqual([
        503,
        "ACCOUNT_FULL",
        "60",
      ]);
      await small.api("PUT", API.accountPlan, { max_agents: 20 });
      expect((await agent.activate(late)).json.slot.held).toBeTrue();
      expect((await holder.beat()).slot).toEqual({ held: true, max_agents: 20 });
    } finally {
      await small.close();
    }
  });
});

describe("an access token", () => {
  test("is given for either audience, and works", async () => {
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    expect((await agent.signIn(control.url)).json).toMatchObject({ token_type: "DPoP", expires_in: 600 });
    await agent.beat();
  });

  test("is not given twice for one assertion, for another audience, another agent, or an old one", async () => {
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    const other = await ScriptedAgent.enrol(control.url, await mint(control));
    const assertion = (changes: object = {}) =>
      makeAssertion(agent.identity, {
        agentId: agent.agentId,
        audience: control.url,
        jti: newNonce(random),
        nowS: nowS(),
        ...changes,
      });
    const once = await assertion();
    expect((await agent.sendAssertion(once)).status).toBe(200);
    expect(codeOf(await agent.sendAssertion(once))).toBe("DPOP_INVALID");
    for (const text of [await assertion({ audience: "https://evil.example/v1/token" }), "not.a.token"]) {
      expect(codeOf(await agent.sendAssertion(text))).toBe("API_UNAUTHENTICATED");
    }
    for (const agentId of [other.agentId, "agt_99999999999999999999"]) {
      expect(codeOf(await agent.sendAssertion(await assertion({ agentId })))).toBe("AGENT_UNKNOWN");
    }
    expect(codeOf(await agent.sendAssertion(await assertion({ nowS: nowS() - 120 })))).toBe(
      "WIRE_CLOCK_SKEW",
    );
    // Somebody else's proof around the right assertion.
    expect(codeOf(await other.sendAssertion(await assertion()))).toBe("API_UNAUTHENTICATED");
  });

  test("ends after ten minutes, and is worth nothing when changed or without its key", async () => {
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    const good = agent.bearer;
    agent.bearer = `${good.slice(0, -2)}${good.endsWith("AA") ? "BB" : "AA"}`;
    expect(codeOf(await agent.sendBeat(agent.beatRequest()))).toBe("BEARER_INVALID");
    agent.bearer = good;
    const { key } = await makeSigningKey();
    expect(codeOf(await agent.sendBeat(agent.beatRequest(), { key }))).toBe("DPOP_INVALID");
    control.shift(600_000);
    const late = await agent.sendBeat(agent.beatRequest(), { nowS: nowS() + 600 });
    control.shift(-600_000);
    expect(codeOf(late)).toBe("BEARER_INVALID");
    expect(late.headers.get("www-authenticate")).toContain("invalid_token");
  });
});
