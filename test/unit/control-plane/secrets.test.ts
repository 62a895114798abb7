// Goal: a secret goes in and never comes out but sealed to the one agent that runs a job which may have it; a job that
// wants one it cannot have is told so, and is never run without.
// Method: a real Control Plane over HTTP, scripted agents with real sealing keys that open what they are offered, and the
// files of the data directory searched for values.

import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { openSecrets } from "../../../src/agent/secrets.ts";
import { isBackupPath } from "../../../src/control-plane/backup/manifest.ts";
import { openVault, SecretVault } from "../../../src/control-plane/secrets/vault.ts";
import type { SecretRow } from "../../../src/control-plane/store/schema.ts";
import { API, type JobView } from "../../../src/protocol/api.ts";
import type { JobClaims } from "../../../src/protocol/job.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { SECRETS_API } from "../../../src/protocol/secret.ts";
import { makeSealingKey, type SealingKey } from "../../../src/trust/keys.ts";
import { tempDir } from "../sandbox/sandbox-bench.ts";
import {
  mint,
  random,
  SUBMISSION,
  startTestControlPlane,
  submit,
  type TestControlPlane,
} from "./support/control-plane.ts";
import { claimsOf, ScriptedAgent } from "./support/scripted-agent.ts";

const VALUE = "npm_7ZkQpR2sTuVw";
const MARK = /npm_7Zk|bnBtXzda|6e706d5f/i;

interface Enrolled {
  readonly agent: ScriptedAgent;
  readonly sealing: SealingKey;
}

let control: TestControlPlane;
const enrolled: Enrolled[] = [];
beforeAll(async () => {
  control = await startTestControlPlane();
});
afterAll(() => control.close());

async function enrol(labels: object = {}): Promise<Enrolled> {
  const { key: sealing } = await makeSealingKey();
  const token = await mint(control);
  const agent = await ScriptedAgent.withKeys(control.url, token);
  const reply = await agent.activate(token, { sealing_jwk: sealing.jwk, labels });
  if (reply.status !== 200) throw new Error(reply.text);
  await agent.signIn();
  const made = { agent, sealing };
  enrolled.push(made);
  return made;
}

const put = (name: string, body: object): Promise<Response> =>
  control.api("PUT", SECRETS_API.secret(name), body);
const set = async (name: string, value = VALUE, limits: object = {}): Promise<void> => {
  const reply = await put(name, { value, ...limits });
  if (!reply.ok) throw new Error(await reply.text());
};
const remove = (name: string): Promise<Response> => control.api("DELETE", SECRETS_API.secret(name));
const list = async () =>
  ((await (await control.api("GET", SECRETS_API.secrets)).json()) as { secrets: Record<string, unknown>[] })
    .secrets;
const codeOf = async (reply: Promise<Response>): Promise<string> =>
  ((await (await reply).json()) as { code: string }).code;
const jobOf = async (id: string): Promise<JobView> =>
  (await (await control.api("GET", API.job(id))).json()) as JobView;

const using = (...names: string[]) => ({
  payload: { ...SUBMISSION.payload, secrets: { run: names } },
  scope: { ...SUBMISSION.scope, env: names },
  secrets: names,
});
/** Takes everything out of the queue, so that a test's jobs are alone in it. */
async function settle({ agent }: Enrolled, jobs: readonly string[]): Promise<void> {
  for (const jws of jobs) {
    const claims = claimsOf(jws);
    await agent.beat({ jobs: [{ jti: claims.jti, attempt: 1, state: "accepted" }] });
    await agent.beat({ receipts: [await agent.receipt(claims, jws)] });
  }
}

describe("keeping", () => {
  test("what is shown of a secret is its name, its limits and its time", async () => {
    const reply = await put("SHOWN", { value: VALUE, kinds: ["test.run"], labels: { pool: "a" } });
    const shown = (await reply.json()) as object;
    expect(shown).toEqual({
      name: "SHOWN",
      kinds: ["test.run"],
      labels: { pool: "a" },
      updated_at: expect.any(Number) as number,
      readable: true,
    });
    expect(await list()).toContainEqual(shown as never);
    expect(await (await remove("SHOWN")).json()).toEqual({ name: "SHOWN", removed: true });
    expect(await codeOf(remove("SHOWN"))).toBe("API_NOT_FOUND");
  });

  test("limits stay when only the value is given, and go when they are given empty", async () => {
    await set("KEPT", VALUE, { kinds: ["test.run"], labels: { pool: "a" } });
    await set("KEPT", "another value");
    expect((await list()).find(({ name }) => name === "KEPT")).toMatchObject({
      kinds: ["test.run"],
      labels: { pool: "a" },
    });
    await set("KEPT", "another value", { kinds: [], labels: {} });
    expect((await list()).find(({ name }) => name === "KEPT")).toMatchObject({ kinds: [], labels: {} });
    await remove("KEPT");
  });

  test.each([
    ["SHORT", { value: "12345" }, "SECRET_UNSUITABLE"],
    ["BLANK", { value: "  \n 12345 \n " }, "SECRET_UNSUITABLE"],
    ["NUL", { value: "12345\u00006789" }, "SECRET_UNSUITABLE"],
    ["LONG", { value: "é".repeat(LIMITS.SECRET_BYTES / 2 + 1) }, "SECRET_UNSUITABLE"],
    ["LONGER", { value: "x".repeat(LIMITS.SECRET_BYTES + 1) }, "API_BODY_MALFORMED"],
    ["NUMBER", { value: 1234567890 }, "API_BODY_MALFORMED"],
    ["LD_PRELOAD", { value: VALUE }, "SECRET_NAME_DENIED"],
    ["https_proxy", { value: VALUE }, "SECRET_NAME_DENIED"],
    ["A-B", { value: VALUE }, "API_BODY_MALFORMED"],
    ["KIND", { value: VALUE, kinds: ["test.walk"] }, "API_BODY_MALFORMED"],
    ["MORE", { value: VALUE, more: 1 }, "API_BODY_MALFORMED"],
  ])("%s %j is refused", async (name, body, code) => {
    const reply = await put(name, body);
    const text = await reply.text();
    expect((JSON.parse(text) as { code: string }).code).toBe(code);
    expect(text).not.toMatch(MARK);
    expect(text).not.toContain("12345");
  });

  test("a value is in no reply, no log line, and in clear in no file", async () => {
    await set("HIDDEN");
    expect(JSON.stringify(await list())).not.toMatch(MARK);
    expect(control.log.join("\n")).not.toMatch(MARK);
    const { root } = control.running().paths;
    const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    expect(files.length).toBeGreaterThan(5);
    for (const { parentPath, name } of files) {
      expect(readFileSync(join(parentPath, name), "latin1")).not.toMatch(MARK);
    }
    await remove("HIDDEN");
  });

  test("an account has so many and no more", async () => {
    const before = (await list()).length;
    for (let n = before; n < LIMITS.ACCOUNT_SECRETS; n++) await set(`MANY_${n}`);
    expect(await codeOf(put("ONE_MORE", { value: VALUE }))).toBe("SECRET_TOO_MANY");
    await set(`MANY_${before}`, "another value");
    for (let n = before; n < LIMITS.ACCOUNT_SECRETS; n++) await remove(`MANY_${n}`);
  });
});

describe("the vault", () => {
  const bound = { account_id: "acc_a", name: "A", kinds: "[]", labels: "{}" } as unknown as SecretRow;
  const vault = new SecretVault(random(32), random);
  const row = (change: Partial<SecretRow> = {}): SecretRow => ({
    ...bound,
    box: vault.seal(VALUE, bound),
    updated_at: 1,
    ...change,
  });

  test("opens a row as it was written and in no other place", () => {
    expect(vault.open(row())).toBe(VALUE);
    const changes: Partial<SecretRow>[] = [
      { account_id: "acc_b" as SecretRow["account_id"] },
      { name: "B" },
      { kinds: '["test.run"]' },
      { labels: '{"pool":"a"}' },
      { box: "" },
      { box: "v1.." },
      { box: `v2${row().box.slice(2)}` },
      { box: `${row().box}.` },
    ];
    for (const change of changes) expect(vault.open(row(change))).toBeNull();
    expect(new SecretVault(random(32), random).open(row())).toBeNull();
    expect(row().box).not.toBe(row().box);
  });

  test("no bit of a box can be turned", () => {
    const { box } = row();
    const [form, nonce = "", sealed = ""] = box.split(".");
    for (const [part, text] of [nonce, sealed].entries()) {
      const bytes = Buffer.from(text, "base64url");
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const turned = Buffer.from(bytes);
        turned[bit >> 3] = (turned[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        const parts = [nonce, sealed];
        parts[part] = turned.toString("base64url");
        expect(vault.open(row({ box: [form, ...parts].join(".") }))).toBeNull();
      }
    }
  });

  test("its key is a private file, made once, part of no backup", async () => {
    using dir = tempDir();
    const path = join(dir.path, "secrets.key");
    const first = await openVault(path, random);
    expect(first.made).toBe(true);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const again = await openVault(path, random);
    expect(again.made).toBe(false);
    const sealed = { ...bound, box: first.vault.seal(VALUE, bound), updated_at: 1 };
    expect(again.vault.open(sealed)).toBe(VALUE);
    await Bun.write(path, "short\n");
    expect(openVault(path, random)).rejects.toMatchObject({ code: "CONTROL_KEY_UNUSABLE" });
    expect(isBackupPath("secrets.key")).toBe(false);
  });
});

describe("submitting", () => {
  test.each([
    [{ ...using("TOKEN"), secrets: [] }, "SECRET_UNCARRIED"],
    [{ ...using("TOKEN"), payload: SUBMISSION.payload }, "SECRET_UNUSED"],
    [{ ...using("TOKEN"), scope: SUBMISSION.scope }, "SCOPE_PAYLOAD_OUTSIDE"],
    [using("LD_PRELOAD"), "SCOPE_ENV_DENIED"],
    [{ ...using("TOKEN"), payload: { ...using("TOKEN").payload, env: { TOKEN: "x" } } }, "SECRET_DOUBLED"],
    [using("NEVER_SET"), "SECRET_UNKNOWN"],
    [using("OTHER_KIND"), "SECRET_OTHER_KIND"],
    [{ ...using("TOKEN"), secrets: ["TOKEN", "TOKEN"] }, "API_BODY_MALFORMED"],
    [using(...Array.from({ length: LIMITS.SECRETS + 1 }, (_, n) => `S_${n}`)), "API_BODY_MALFORMED"],
  ])("%j is refused: %s", async (changes, code) => {
    await set("TOKEN");
    await set("OTHER_KIND", VALUE, { kinds: ["plan.draft"] });
    expect(await codeOf(control.api("POST", API.jobs, { ...SUBMISSION, ...changes }))).toBe(code);
  });
});

describe("offering", () => {
  test("each secret is sealed to the agent, for this job and this name, anew each time", async () => {
    await set("TOKEN");
    await set("SECOND", "a second value");
    const first = await enrol();
    const id = await submit(control, using("TOKEN", "SECOND"));
    const { jobs } = await first.agent.beat();
    const claims = claimsOf(jobs[0] ?? "");
    expect(claims.jti).toBe(id as never);
    expect(await openSecrets(claims, first.sealing)).toEqual({ TOKEN: VALUE, SECOND: "a second value" });
    expect(Buffer.byteLength(claims.secrets?.["TOKEN"] ?? "")).toBeLessThan(LIMITS.SMALL_JWS_BYTES);

    // Offered again to an agent that does not name it.
    const again = claimsOf((await first.agent.beat()).jobs[0] ?? "");
    expect(again.secrets?.["TOKEN"]).not.toBe(claims.secrets?.["TOKEN"]);
    expect(await openSecrets(again, first.sealing)).toMatchObject({ TOKEN: VALUE });

    const swapped: JobClaims = {
      ...claims,
      secrets: { TOKEN: claims.secrets?.["SECOND"] ?? "", SECOND: claims.secrets?.["TOKEN"] ?? "" },
    };
    const refused = (why: string) => ({
      code: "SECRET_UNOPENED",
      message: expect.stringContaining(why) as string,
    });
    expect(openSecrets(swapped, first.sealing)).rejects.toMatchObject(refused("under another name"));
    const lifted = { ...claims, jti: "job_00000000000000000009" as JobClaims["jti"] };
    expect(openSecrets(lifted, first.sealing)).rejects.toMatchObject(refused("for another job"));
    const rewrapped = { ...claims, payload: { ...claims.payload, run: ["/usr/bin/env"] } };
    expect(openSecrets(rewrapped, first.sealing)).rejects.toMatchObject(refused("for other work"));
    const { key: other } = await makeSealingKey();
    expect(openSecrets(claims, other)).rejects.toMatchObject(refused("not sealed to this agent"));
    await settle(first, [jobs[0] ?? ""]);
  });

  test("the longest value fits its envelope", async () => {
    const longest = "\u0001".repeat(LIMITS.SECRET_BYTES);
    await set("LONGEST", longest);
    const [first] = enrolled as [Enrolled];
    await submit(control, using("LONGEST"));
    const { jobs } = await first.agent.beat();
    const claims = claimsOf(jobs[0] ?? "");
    expect(claims.secrets?.["LONGEST"]?.length).toBeLessThanOrEqual(LIMITS.SMALL_JWS_BYTES);
    expect(await openSecrets(claims, first.sealing)).toEqual({ LONGEST: longest });
    await settle(first, jobs);
  });

  test("a job whose secret is gone, or for other kinds by now, ends refused and is never offered", async () => {
    const [first] = enrolled as [Enrolled];
    await set("GOING");
    await set("NARROWED");
    const gone = await submit(control, using("GOING"));
    const narrowed = await submit(control, using("TOKEN", "NARROWED"));
    await remove("GOING");
    await set("NARROWED", VALUE, { kinds: ["plan.draft"] });
    const { jobs } = await first.agent.beat();
    expect(jobs).toEqual([]);
    for (const id of [gone, narrowed]) {
      expect(await jobOf(id)).toMatchObject({
        state: "finished",
        outcome: "refused",
        reason: "SECRET_MISSING",
      });
    }
  });

  test("an agent without the labels does not get the job, and gets the one behind it", async () => {
    const [first] = enrolled as [Enrolled];
    await set("LABELLED", VALUE, { labels: { pool: "deploy" } });
    const waiting = await Promise.all(Array.from({ length: 5 }, () => submit(control, using("LABELLED"))));
    const plain = await submit(control, using("TOKEN"));
    const { jobs } = await first.agent.beat();
    expect(jobs.map((jws) => claimsOf(jws).jti)).toEqual([plain] as never);
    await settle(first, jobs);
    expect(await jobOf(waiting[0] ?? "")).toMatchObject({ state: "queued" });

    const deploy = await enrol({ pool: "deploy", zone: "b" });
    const offered = (await deploy.agent.beat()).jobs;
    const taken = offered.map((jws) => claimsOf(jws).jti as string);
    expect(taken.filter((id) => waiting.includes(id))).toHaveLength(2);
    expect(await openSecrets(claimsOf(offered[0] ?? ""), deploy.sealing)).toEqual({ LABELLED: VALUE });
    await settle(deploy, offered);
    for (let rest = 2; rest < waiting.length; rest += 2)
      await settle(deploy, (await deploy.agent.beat()).jobs);
  });

  test("a row moved in the database opens nothing: the job ends refused", async () => {
    const [first] = enrolled as [Enrolled];
    await set("OWN", VALUE, { labels: { pool: "deploy" } });
    await control.running().stop();
    const { paths } = control.running();
    const db = new Database(paths.database);
    db.run("UPDATE secrets SET labels = '{}' WHERE name = 'OWN'");
    db.close();
    await control.restart();
    const id = await submit(control, using("OWN"));
    expect((await first.agent.beat()).jobs).toEqual([]);
    expect(await jobOf(id)).toMatchObject({ outcome: "refused", reason: "SECRET_UNREADABLE" });
    expect((await list()).find(({ name }) => name === "OWN")).toMatchObject({ readable: false });
    await remove("OWN");
  });

  test("without its key file a server starts, says what is lost, and takes values anew", async () => {
    const [first] = enrolled as [Enrolled];
    rmSync(control.running().paths.secretsKey);
    control.log.length = 0;
    await control.restart();
    expect(control.log.filter((line) => line.includes("secrets must be set again"))).toHaveLength(1);
    expect((await list()).every(({ readable }) => readable === false)).toBe(true);
    await set("TOKEN", "set anew");
    const id = await submit(control, using("TOKEN"));
    const { jobs } = await first.agent.beat();
    expect(claimsOf(jobs[0] ?? "").jti).toBe(id as never);
    expect(await openSecrets(claimsOf(jobs[0] ?? ""), first.sealing)).toEqual({ TOKEN: "set anew" });
    await settle(first, jobs);
  });
});
