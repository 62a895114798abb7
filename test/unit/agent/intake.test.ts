// Goal: whatever an envelope is, it gives the rows, rejections and receipts it should, and only a good one ever runs.
// Method: the real loop takes replies of a scripted Control Plane that signs good and bad envelopes; journal, next beats,
// receipts and pool are looked at.

import { describe, expect, test } from "bun:test";
import { fault } from "../../../src/fault/fault.ts";
import { newAgentId, newControlPlaneId, newJobId, newLicenseId } from "../../../src/protocol/ids.ts";
import type { JobClaims } from "../../../src/protocol/job.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { TYP } from "../../../src/protocol/trust.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { type Authority, anySigningKey, random } from "../../support/authority.ts";
import { lost } from "../../support/lies.ts";
import { START_S } from "../../support/virtual-time.ts";
import { World } from "./world.ts";

const EXPIRED = { iat: START_S - 30, nbf: START_S - 30, exp: START_S - 20, offline_grace_s: 5 };

type Forge = (authority: Authority) => Promise<string>;
const claiming =
  (over: Partial<JobClaims>): Forge =>
  (authority) =>
    authority.job(authority.jobClaims(over));
const good = claiming({});
const texted =
  (change: (payload: string) => string, header?: (authority: Authority) => string): Forge =>
  (authority) =>
    authority.raw(change(JSON.stringify(authority.jobClaims())), header?.(authority));
const changed =
  (change: (jws: string) => string): Forge =>
  async (authority) =>
    change(await good(authority));
const at = (seconds: number) => (authority: Authority) => {
  const { iat } = authority.jobClaims();
  const begin = iat + seconds;
  return authority.job(authority.jobClaims({ iat: begin, nbf: begin, exp: begin + 600 }));
};

/** The last character of a signature carries four bits of nothing. */
const trailingBits = (jws: string) => {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const last = alphabet.indexOf(jws.at(-1) ?? "");
  return jws.slice(0, -1) + alphabet[last ^ 1];
};

const UNIDENTIFIED: Readonly<Record<string, readonly [string, Forge]>> = {
  "an empty text": ["JWS_MALFORMED", async () => ""],
  "no envelope at all": ["JWS_MALFORMED", async () => "<html>"],
  "a truncated one": ["JWS_MALFORMED", changed((jws) => jws.slice(0, -7))],
  "one cut in its payload": ["JWS_MALFORMED", changed((jws) => jws.split(".").slice(0, 2).join("."))],
  "an oversized one": ["JWS_OVERSIZED", async () => "A".repeat(LIMITS.JWS_BYTES + 1)],
  "an unsigned one": ["JWS_MALFORMED", changed((jws) => `${jws.slice(0, jws.lastIndexOf("."))}.`)],
  "alg none": [
    "JWS_WRONG_ALGORITHM",
    texted(
      (p) => p,
      (a) => a.jobHeader({ alg: "none" }),
    ),
  ],
  padding: ["JWS_MALFORMED", changed((jws) => `${jws}==`)],
  "a newline": ["JWS_MALFORMED", changed((jws) => `${jws}\n`)],
  "other trailing bits": ["JWS_MALFORMED", changed(trailingBits)],
  "spaces in its header": [
    "JWS_MALFORMED",
    texted(
      (p) => p,
      (a) => a.jobHeader().replace(",", ", "),
    ),
  ],
  "a header member twice": [
    "JWS_MALFORMED",
    texted(
      (p) => p,
      (a) => a.jobHeader().replace("{", '{"alg":"EdDSA",'),
    ),
  ],
  "a payload member twice": ["JWS_MALFORMED", texted((p) => p.replace("{", '{"attempt":1,'))],
  "a deep member twice": [
    "JWS_MALFORMED",
    texted((p) => p.replace('"read":[]', '"read":[],"read":["/etc"]')),
  ],
  "an unknown member": ["JWS_WRONG_CLAIMS", texted((p) => p.replace("{", '{"sudo":true,'))],
  "a number beyond all readers": [
    "JWS_MALFORMED",
    texted((p) => p.replace('"attempt":1', '"attempt":1e400')),
  ],
  "bytes after the document": ["JWS_MALFORMED", texted((p) => `${p}{}`)],
  "a changed payload": [
    "JWS_BAD_SIGNATURE",
    async (authority) => {
      const [header, , signature] = (await good(authority)).split(".");
      const payload = Buffer.from(JSON.stringify(authority.jobClaims())).toString("base64url");
      return [header, payload, signature].join(".");
    },
  ],
  "a stranger's signature": [
    "JWS_UNKNOWN_KEY",
    async (authority) => authority.job(authority.jobClaims(), await anySigningKey()),
  ],
  "a stranger who names the right key": [
    "JWS_BAD_SIGNATURE",
    async (a) => a.raw(JSON.stringify(a.jobClaims()), a.jobHeader(), await anySigningKey()),
  ],
  "the order key": [
    "JWS_UNKNOWN_KEY",
    (authority) => authority.job(authority.jobClaims(), authority.keys.order),
  ],
  "another type": [
    "JWS_WRONG_TYPE",
    texted(
      (p) => p,
      (a) => a.jobHeader({ typ: TYP.license }),
    ),
  ],
  "another issuer": ["JOB_WRONG_ISSUER", claiming({ iss: newControlPlaneId(random) })],
  "another agent": ["JOB_WRONG_AGENT", claiming({ aud: newAgentId(random) })],
  "another license": ["JOB_WRONG_LICENSE", claiming({ lic: newLicenseId(random) })],
  "another epoch": ["JOB_WRONG_EPOCH", claiming({ epoch: 2 })],
  "an expired one": ["JOB_EXPIRED", at(-661)],
  "an early one": ["JOB_NOT_YET_VALID", at(62)],
  "one that lives too long": ["JOB_LIFETIME", (a) => a.job(a.jobClaims({ exp: a.jobClaims().iat + 901 }))],
  "one that ends before it begins": ["JOB_LIFETIME", (a) => a.job(a.jobClaims({ exp: a.jobClaims().iat }))],
};

describe("an envelope that cannot be trusted", () => {
  for (const [name, [code, forge]] of Object.entries(UNIDENTIFIED)) {
    test(`${name} is told as ${code}, and nothing else comes of it`, async () => {
      await using world = await World.make();
      await world.start();
      const envelope = await forge(world.control.authority);
      world.control.offers.push(envelope);
      const neighbour = await world.control.offer();
      world.agent.news();
      await world.time.advance(100);
      const told = { envelope_sha256: sha256Of(envelope), code };
      expect(world.control.beats.flatMap(({ rejected }) => rejected)).toEqual([told]);
      expect(world.journal.rejected()).toEqual([]); // told once, forgotten
      await world.time.until(() => world.pool.tasks.length === 1);
      expect(world.pool.tasks[0]?.task.jti).toBe(neighbour.jti);
      expect(world.control.receipts.claims).toEqual([]);
      expect(world.control.violations).toEqual([]);
    });
  }

  test("a rejection is told until the beat that tells it is answered", async () => {
    await using world = await World.make({ jitter: 0 });
    await world.start();
    world.control.offers.push("rubbish");
    world.agent.news();
    await world.time.settle();
    world.control.next("heartbeat", lost, lost);
    world.agent.news();
    await world.time.advance(1_000);
    expect(world.control.beats.filter(({ rejected }) => rejected.length === 1)).toHaveLength(1);
    expect(world.journal.rejected()).toEqual([]);
    expect(world.control.violations).toEqual([]);
  });
});

describe("a replay", () => {
  const runs = async (world: World, envelopes: readonly string[]) => {
    world.control.offers.push(...envelopes);
    world.agent.news();
    await world.time.advance(5_000);
  };
  const rejections = (world: World) =>
    world.control.beats.flatMap(({ rejected }) => rejected.map(({ code }) => code));

  test("of an offer's number under another job is refused", async () => {
    await using world = await World.make();
    await world.start();
    const first = await world.startJob();
    await runs(world, [await claiming({ seq: first.seq })(world.control.authority)]);
    expect(rejections(world)).toEqual(["JOB_REPLAYED"]);
    expect(world.pool.tasks).toHaveLength(1);
  });

  test("of a number older than the window is refused", async () => {
    await using world = await World.make();
    await world.start();
    const { authority } = world.control;
    await runs(world, [await claiming({ seq: 5_000 })(authority), await claiming({ seq: 3_976 })(authority)]);
    expect(rejections(world)).toEqual(["JOB_REPLAYED"]);
    await runs(world, [await claiming({ seq: 3_977 })(authority)]);
    expect(rejections(world)).toEqual(["JOB_REPLAYED"]);
  });

  test("of the whole envelope repeats the attempt's state and nothing more, at every stage of its life", async () => {
    await using world = await World.make();
    await world.start();
    const claims = world.control.authority.jobClaims();
    const envelope = await world.control.authority.job(claims);
    await runs(world, [envelope, envelope]); // twice in one reply
    expect(world.row(claims)?.state).toBe("running");
    await runs(world, [envelope]);
    expect(world.row(claims)?.state).toBe("running");
    world.pool.last.report();
    world.control.acks = false;
    await world.time.until(() => world.hasEnded(claims));
    await runs(world, [envelope]);
    expect(world.row(claims)?.state).toBe("finished");
    world.control.acks = true;
    await world.time.advance(61_000);
    expect(world.row(claims)?.state).toBe("delivered");
    await runs(world, [envelope]);
    expect(world.row(claims)?.state).toBe("delivered");
    expect(world.pool.tasks).toHaveLength(1);
    expect(world.control.receipts.claims).toHaveLength(1);
    expect(rejections(world)).toEqual([]);
    expect(world.control.violations).toEqual([]);
  });

  test("of an attempt that ended has its receipt told again: the server has lost sight of the end", async () => {
    await using world = await World.make();
    await world.start();
    const claims = await world.startJob();
    world.pool.last.report();
    await world.time.until(() => world.row(claims)?.state === "delivered");
    expect(world.journal.openReceipts()).toEqual([]);
    const told = world.control.receipts.claims.length;
    await runs(world, [await claiming({ jti: claims.jti })(world.control.authority)]);
    await world.time.advance(61_000);
    expect(world.journal.openReceipts()).toEqual([]);
    expect(world.pool.tasks).toHaveLength(1);
    expect(world.control.receipts.claims).toHaveLength(told);
    expect(world.control.beats.filter(({ receipts }) => receipts.length > 0)).toHaveLength(2);
  });

  test("of an attempt under a new number is known by its attempt; a new attempt is another job", async () => {
    await using world = await World.make();
    await world.start();
    const first = await world.startJob();
    await runs(world, [await claiming({ jti: first.jti })(world.control.authority)]);
    expect(world.pool.tasks).toHaveLength(1);
    await runs(world, [await claiming({ jti: first.jti, attempt: 2 })(world.control.authority)]);
    await world.time.until(() => world.pool.tasks.length === 2);
    expect(rejections(world)).toEqual([]);
  });
});

describe("a job that is refused", () => {
  const nobody = { kinds: [] };
  const cases: Readonly<Record<string, readonly [string, Partial<JobClaims>, object?]>> = {
    "of a kind nobody knows": ["JOB_KIND_UNKNOWN", { kind: "crypto.mine" }],
    "of a kind this version does not know": ["JOB_KIND_UNKNOWN", { kind: "plan.draft" }],
    "of a kind the license does not have": ["JOB_KIND_UNLICENSED", {}, nobody],
    "with a payload that does not fit": [
      "JOB_SCHEMA",
      { payload: { source: { type: "empty" }, run: [], extra: 1 } },
    ],
    "with a scope too large for a receipt": [
      "JOB_SCHEMA",
      {
        scope: {
          files: { read: Array.from({ length: 100 }, () => `/${"a".repeat(4_000)}`), write: [] },
          commands: "system",
          hosts: [],
          env: [],
        },
      },
    ],
  };
  for (const [name, [code, over, license]] of Object.entries(cases)) {
    test(`${name} gets a receipt that says ${code}, and never runs`, async () => {
      await using world = await World.make(license ? { license } : {});
      await world.start();
      const claims = await world.control.offer(over);
      world.agent.news();
      await world.time.advance(3_000);
      const receipt = world.control.receipts.of(claims.jti);
      expect(receipt).toMatchObject({ outcome: "refused", reason: code, grant: null, started_at: null });
      expect(receipt?.refusal?.code).toBe(code);
      expect(world.row(claims)?.state).toBe("delivered");
      expect(world.pool.tasks).toEqual([]);
      expect(world.control.beats.flatMap(({ rejected }) => rejected)).toEqual([]);
      expect(world.control.violations).toEqual([]);
    });
  }

  test("by the operator's policy says so, with the way out", async () => {
    await using world = await World.make();
    await world.start();
    const why = fault("POLICY_MISSING", { path: "/etc/agentina/policy.toml" });
    world.decide = () => ({ ok: false, why });
    const claims = await world.control.offer();
    world.agent.news();
    await world.time.advance(3_000);
    expect(world.control.receipts.of(claims.jti)?.refusal).toMatchObject({
      code: "POLICY_MISSING",
      remedy: why.remedy,
    });
    expect(world.pool.tasks).toEqual([]);
  });
});

describe("more than there is room for", () => {
  test("is handed back, named once, and taken when it is offered again", async () => {
    await using world = await World.make({ license: { max_concurrent_tasks_per_agent: 1 } });
    await world.start();
    const first = await world.startJob();
    const second = await world.control.offer();
    world.agent.news();
    await world.time.advance(5_000);
    expect(world.row(second)).toBeNull();
    const named = world.control.beats.flatMap(({ jobs }) => jobs.filter(({ jti }) => jti === second.jti));
    expect(named.map(({ state }) => state)).toEqual(["returned"]);
    expect(world.control.receipts.claims).toEqual([]);
    world.pool.last.report();
    await world.time.until(() => world.hasEnded(first));
    await world.time.advance(2_000);
    await world.control.offer({ jti: second.jti });
    world.agent.news();
    await world.time.advance(3_000);
    await world.time.until(() => world.pool.tasks.length === 2);
    expect(world.row(second)?.state).toBe("running");
    expect(world.control.violations).toEqual([]);
  });

  test("an attempt handed back and offered again before that was told is judged anew", async () => {
    await using world = await World.make({ license: { max_concurrent_tasks_per_agent: 1 } });
    await world.start();
    const first = await world.startJob();
    const jti = newJobId(random);
    await world.control.offer({ jti });
    await world.control.offer({ jti }); // the same breath: the first speaks for it
    world.agent.news();
    await world.time.advance(5_000);
    expect(world.journal.job(jti, 1)).toBeNull();
    expect(world.row(first)?.state).toBe("running");
    expect(world.control.violations).toEqual([]);
  });

  test("sixteen offers for two places: two run, fourteen go back", async () => {
    await using world = await World.make();
    await world.start();
    for (let i = 0; i < 16; i++) await world.control.offer();
    world.agent.news();
    await world.time.advance(5_000);
    await world.time.until(() => world.pool.tasks.length === 2);
    const returned = world.control.beats.flatMap(({ jobs }) =>
      jobs.filter(({ state }) => state === "returned"),
    );
    expect(new Set(returned.map(({ jti }) => jti)).size).toBe(14);
    expect(world.control.violations).toEqual([]);
  });
});

describe("an agent that may not", () => {
  test.each([
    ["holds no slot", { slot: { held: false, position: 1, max_agents: 1 } }, {}],
    ["has no license in force", {}, EXPIRED],
  ])("%s takes no offer, and loses nothing of the reply", async (_, control, license) => {
    await using world = await World.make({ license });
    Object.assign(world.control, control);
    await world.start();
    const claims = await world.control.offer();
    world.agent.news();
    await world.time.advance(5_000);
    expect(world.row(claims)).toBeNull();
    expect(world.pool.tasks).toEqual([]);
    expect(world.journal.window(1).highest).toBe(0);
    expect(world.journal.chain()?.n).toBe(world.control.chain.n);
    expect(world.control.violations).toEqual([]);
  });
});
