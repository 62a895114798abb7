// Goal: a job's secrets are open in memory and nowhere else, for its own worker alone; one that does not open ends the
// attempt refused, with a receipt, before anything of the job has run.
// Method: JWEs made with real keys, right and wrong; the real runner in the real loop, and its files searched afterwards.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openSecrets } from "../../../src/agent/secrets.ts";
import { fault } from "../../../src/fault/fault.ts";
import { encodeBase64url } from "../../../src/protocol/base64url.ts";
import type { JobClaims } from "../../../src/protocol/job.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { type Work, workDigest } from "../../../src/protocol/secret.ts";
import { makeSealingKey } from "../../../src/trust/keys.ts";
import { seal } from "../../../src/trust/sealed-box.ts";
import { World } from "./world.ts";

const JTI = "job_00000000000000000001" as JobClaims["jti"];
const VALUE = "npm_7ZkQpR2sTuVw";
const WORK: Work = {
  kind: "test.run",
  payload: { source: { type: "empty" }, run: ["true"] },
  scope: { files: { read: [], write: ["./"] }, commands: "system", hosts: [], env: [] },
};
const { key } = await makeSealingKey();
const { key: stranger } = await makeSealingKey();

const sealed = (plain: unknown, to = key): Promise<string> =>
  seal(Buffer.from(typeof plain === "string" ? plain : JSON.stringify(plain)), to);
const plain = (change: object = {}) => ({
  v: 1,
  jti: JTI as string,
  work: workDigest(WORK) as string,
  name: "TOKEN",
  value: encodeBase64url(VALUE),
  ...change,
});

describe("opening", () => {
  test("all of a job's secrets, in whatever characters", async () => {
    const value = `${"é".repeat((LIMITS.SECRET_BYTES - 4) / 2)}😀`;
    const secrets = {
      TOKEN: await sealed(plain()),
      OTHER: await sealed(plain({ name: "OTHER", value: encodeBase64url(value) })),
    };
    expect(await openSecrets({ ...WORK, jti: JTI, secrets }, key)).toEqual({ TOKEN: VALUE, OTHER: value });
    expect(await openSecrets({ ...WORK, jti: JTI }, key)).toEqual({});
  });

  test("names that an object has by nature are names like any other", async () => {
    const secrets = JSON.parse(
      JSON.stringify({ toString: await sealed(plain({ name: "toString" })) }),
    ) as Record<string, string>;
    expect(await openSecrets({ ...WORK, jti: JTI, secrets }, key)).toEqual({ toString: VALUE } as never);
  });

  test.each<[string, () => Promise<string>]>([
    ["for another agent", () => sealed(plain(), stranger)],
    ["for another job", () => sealed(plain({ jti: "job_00000000000000000002" }))],
    ["for no work", () => sealed(plain({ work: undefined }))],
    ["under another name", () => sealed(plain({ name: "TOKENS" }))],
    ["with more than it may hold", () => sealed(plain({ kind: "test.run" }))],
    ["of another form", () => sealed(plain({ v: 2 }))],
    ["that is no JSON", () => sealed(VALUE)],
    ["with its job named twice", () => sealed(`{"jti":"${JTI}",${JSON.stringify(plain()).slice(1)}`)],
    ["whose value is no base64url", () => sealed(plain({ value: `${encodeBase64url(VALUE)}=` }))],
    ["whose value is no UTF-8", () => sealed(plain({ value: encodeBase64url(Buffer.alloc(8, 0xff)) }))],
    ["that holds NUL", () => sealed(plain({ value: encodeBase64url(`${VALUE}\0`) }))],
    ["too short to be scrubbed", () => sealed(plain({ value: encodeBase64url("12345") }))],
    ["too long", () => sealed(plain({ value: encodeBase64url("x".repeat(LIMITS.SECRET_BYTES + 1)) }))],
    ["cut short", async () => (await sealed(plain())).slice(0, -1)],
    ["that is nothing", async () => ""],
  ])("one %s does not open, and says nothing of what is inside", async (_, make) => {
    const box = await make();
    const error = await openSecrets({ ...WORK, jti: JTI, secrets: { TOKEN: box } }, key).then(
      () => null,
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({ code: "SECRET_UNOPENED", params: { name: "TOKEN" } });
    expect(Bun.inspect(error)).not.toContain(VALUE);
    expect(Bun.inspect(error)).not.toContain(encodeBase64url(VALUE));
  });

  test("one for other work under the same job's name opens for that alone, however it is written", async () => {
    const secrets = { TOKEN: await sealed(plain()) };
    const opened = (work: Partial<Work>) => openSecrets({ ...WORK, ...work, jti: JTI, secrets }, key);
    const { run, source } = WORK.payload;
    const blob = { name: "src", sha256: workDigest(WORK), size: 1 };
    const others: Partial<Work>[] = [
      { kind: "plan.draft" },
      { payload: { source, run: ["curl", "https://example.com"] } },
      { payload: { source, run, secrets: { run: ["TOKEN"] } } },
      { scope: { ...WORK.scope, hosts: ["example.com:443"] } },
      { blobs: [blob] },
    ];
    for (const other of others) {
      await expect(opened(other)).rejects.toMatchObject({ code: "SECRET_UNOPENED" });
    }
    expect(await opened({ payload: { run, source }, blobs: [] })).toEqual({ TOKEN: VALUE });
  });

  test("another algorithm than the one that seals is not taken", async () => {
    const box = await sealed(plain());
    const [, ...rest] = box.split(".");
    const header = encodeBase64url(JSON.stringify({ alg: "dir", enc: "A256GCM" }));
    const secrets = { TOKEN: [header, ...rest].join(".") };
    expect(openSecrets({ ...WORK, jti: JTI, secrets }, key)).rejects.toMatchObject({
      code: "SECRET_UNOPENED",
    });
  });
});

describe("an attempt", () => {
  const started = async () => {
    const world = await World.make();
    await world.start();
    world.openSecrets = (claims) => openSecrets(claims, key);
    return world;
  };
  test("of an agent without a sealing key runs when it has no secrets", async () => {
    expect(await openSecrets({ ...WORK, jti: JTI }, null)).toEqual({});
    const secrets = { TOKEN: await sealed(plain()) };
    expect(openSecrets({ ...WORK, jti: JTI, secrets }, null)).rejects.toMatchObject({
      code: "SECRET_UNOPENED",
    });
  });

  const offer = async (world: World, secrets: (jti: string) => Promise<Record<string, string>>) => {
    const jti = `job_${"s".repeat(20)}` as JobClaims["jti"];
    const claims = await world.control.offer({ jti, secrets: await secrets(jti) });
    world.agent.news();
    return claims;
  };

  test("gets them in its worker's task, and no file of the agent has them", async () => {
    await using world = await started();
    const claims = await offer(world, async (jti) => ({ TOKEN: await sealed(plain({ jti })) }));
    await world.time.advanceUntil(() => world.pool.tasks.length === 1, 10_000);
    expect(world.pool.last.task.secrets).toEqual({ TOKEN: VALUE });
    expect(process.env["TOKEN"]).toBeUndefined();
    world.pool.last.report();
    await world.time.until(() => world.hasEnded(claims));
    expect(world.row(claims)?.outcome).toBe("succeeded");
    expect(world.row(claims)?.claims.secrets).toBeUndefined();
    for (const entry of readdirSync(world.dir, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const bytes = readFileSync(join(entry.parentPath, entry.name), "latin1");
      expect(bytes).not.toContain(VALUE);
      expect(bytes).not.toContain(encodeBase64url(VALUE));
    }
    expect(JSON.stringify(world.events)).not.toContain(VALUE);
  });

  test("whose secret does not open is refused with a receipt, and no worker sees it", async () => {
    await using world = await started();
    const claims = await offer(world, async (jti) => ({
      TOKEN: await sealed(plain({ jti })),
      LIFTED: await sealed(plain({ name: "LIFTED" })),
    }));
    await world.time.advanceUntil(() => world.hasEnded(claims), 10_000);
    expect(world.pool.tasks).toEqual([]);
    expect(world.row(claims)).toMatchObject({ outcome: "refused", reason: "SECRET_UNOPENED" });
    const told = world.control.receipts.of(claims.jti);
    expect(told).toMatchObject({
      refusal: { code: "SECRET_UNOPENED" },
      result: null,
      grant: null,
      log: null,
    });
    expect(world.control.violations).toEqual([]);
    expect(JSON.stringify(world.events)).not.toContain(VALUE);
  });

  test("stopped while they are being opened never starts", async () => {
    await using world = await started();
    const opening = Promise.withResolvers<void>();
    world.openSecrets = async () => {
      await opening.promise;
      throw fault("SECRET_UNOPENED", { name: "TOKEN", why: "late" });
    };
    const claims = await offer(world, async () => ({}));
    await world.time.advanceUntil(() => world.row(claims)?.state === "running", 10_000);
    world.runner.stop(claims.jti, claims.attempt, "order_cancel");
    opening.resolve();
    await world.time.until(() => world.hasEnded(claims));
    expect(world.row(claims)).toMatchObject({ outcome: "cancelled", reason: "order_cancel" });
    expect(world.pool.tasks).toEqual([]);
  });
});
