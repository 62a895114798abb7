// Goal: a secret goes its whole way, from the operator who keeps it to the step that uses it, and what comes back to him of
// the job holds none of it, in the log, in the receipt, or anywhere in the server's files.
// Method: a real server over HTTP, a scripted agent with real keys, the real opening and deciding, the real executor and
// real bubblewrap; then everything the server has is searched.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openSecrets } from "../../../src/agent/secrets.ts";
import { verdictOfRun } from "../../../src/agent/verdict.ts";
import { API, type JobView } from "../../../src/protocol/api.ts";
import type { JobClaims } from "../../../src/protocol/job.ts";
import { SECRETS_API } from "../../../src/protocol/secret.ts";
import { decide } from "../../../src/scope/decide.ts";
import { parsePolicy } from "../../../src/scope/policy.ts";
import { makeSealingKey, type SealingKey } from "../../../src/trust/keys.ts";
import { type RanJob, runJob } from "../workers/job-bench.ts";
import { mint, startTestControlPlane, submit, type TestControlPlane } from "./support/control-plane.ts";
import { claimsOf, ScriptedAgent } from "./support/scripted-agent.ts";

const VALUE = "dk/live+51H'q\"x\\y é";
const FORMS = [
  VALUE,
  Buffer.from(VALUE).toString("base64"),
  Buffer.from(`x${VALUE}`).toString("base64").slice(2, -2),
  Buffer.from(VALUE).toString("hex"),
  encodeURIComponent(VALUE),
  JSON.stringify(VALUE).slice(1, -1),
  VALUE.replaceAll("'", "'\\''"),
];
/** Says its secret in six forms, and in the name of a test that fails. */
const SCRIPT = `
import base64, json, os, shlex, urllib.parse
v = os.environ['DEPLOY']
print('TAP version 13')
for form in (v, base64.b64encode(v.encode()).decode(), base64.b64encode(('x' + v).encode()).decode(),
             v.encode().hex(), urllib.parse.quote(v, safe=''), json.dumps(v), shlex.quote(v)):
    print('# ' + form)
print('not ok 1 - deploys with ' + v)
print('1..1')
raise SystemExit(1)
`;

let control: TestControlPlane;
let agent: ScriptedAgent;
let sealing: SealingKey;
beforeAll(async () => {
  control = await startTestControlPlane();
  sealing = (await makeSealingKey()).key;
  const token = await mint(control);
  agent = await ScriptedAgent.withKeys(control.url, token);
  await agent.activate(token, { sealing_jwk: sealing.jwk });
  await agent.signIn();
});
afterAll(() => control.close());

async function runOffered(claims: JobClaims): Promise<RanJob> {
  const policy = parsePolicy(
    '[kinds]\nallow = ["test.run"]\n[commands]\nallow = "system"\n[limits]\nweak = "allow"\n',
  );
  if (!policy.ok) throw new Error(policy.why);
  const decision = decide(claims, policy.policy, { limits: "weak", forbidden: [] });
  if (!decision.ok) throw decision.refusal.fault;
  const secrets = await openSecrets(claims, sealing);
  return await runJob({ payload: claims.payload, task: { grant: decision.grant, secrets } });
}

/** The job, once its log has been held against its receipt. */
async function verified(id: string): Promise<JobView> {
  for (;;) {
    const job = (await (await control.api("GET", API.job(id))).json()) as JobView;
    if (job.log_verified !== null) return job;
    await Bun.sleep(5);
  }
}

describe("a secret", () => {
  test("reaches the step that names it and comes back from nowhere", async () => {
    const reply = await control.api("PUT", SECRETS_API.secret("DEPLOY"), { value: VALUE });
    expect(reply.status).toBe(200);
    const id = await submit(control, {
      payload: {
        source: { type: "empty" },
        setup: [["sh", "-c", 'test -z "$DEPLOY"']],
        run: ["python3", "-c", SCRIPT],
        secrets: { run: ["DEPLOY"] },
      },
      scope: { files: { read: [], write: ["./"] }, commands: "system", hosts: [], env: ["DEPLOY"] },
      secrets: ["DEPLOY"],
      limits: { timeout_s: 20 },
    });
    const [envelope = ""] = (await agent.beat()).jobs;
    const claims = claimsOf(envelope);
    const named = { jti: claims.jti, attempt: 1 } as const;
    await agent.beat({ jobs: [{ ...named, state: "accepted" }] });

    const ran = await runOffered(claims);
    const { outcome, reason, detail } = verdictOfRun(ran.report, null);
    const { log, result } = ran.report;
    expect([outcome, reason]).toEqual(["failed", "tests_failed"]);
    await agent.putLog(id, 1, 0, ran.log);
    await agent.beat({
      receipts: [await agent.receipt(claims, envelope, { outcome: "failed", reason, detail, result, log })],
    });

    const shown = await verified(id);
    expect(shown).toMatchObject({ outcome: "failed", reason: "tests_failed", log_verified: true });
    expect(shown.receipt?.claims.result?.failing).toMatchObject([{ name: "deploys with [secret DEPLOY]" }]);
    const text = await (await control.api("GET", API.jobLog(id))).text();
    expect(text.match(/\[secret DEPLOY\]/g)?.length).toBe(8);
    const { root } = control.running().paths;
    const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    const kept = files.map(({ parentPath, name }) => readFileSync(join(parentPath, name)).toString());
    for (const whole of [text, JSON.stringify(shown), control.log.join("\n"), ...kept]) {
      for (const form of FORMS) expect(whole.includes(form)).toBe(false);
    }
  });
});
