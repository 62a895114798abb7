// Goal: a job gets a secret only when it declares it, a step of it names it, and nothing else stands in its place.
// Method: one job that is granted two secrets; every case changes one thing about it.

import { describe, expect, test } from "bun:test";
import { DEFAULT_LIMITS, type Scope } from "../../../src/protocol/scope.ts";
import { decide } from "../../../src/scope/decide.ts";
import { parsePolicy } from "../../../src/scope/policy.ts";
import type { ScopedJob } from "../../../src/scope/refusal.ts";
import { checkSecretUse } from "../../../src/scope/secrets.ts";

const SCOPE: Scope = {
  files: { read: [], write: ["./"] },
  commands: "system",
  hosts: [],
  env: ["NPM", "DEPLOY", "STEP"],
};
const PAYLOAD = {
  source: { type: "empty" },
  setup: [["npm", "ci"]],
  run: ["npm", "test"],
  env: { STEP: "1" },
  secrets: { setup: ["NPM"], run: ["NPM", "DEPLOY"] },
};
const JOB: ScopedJob = {
  kind: "test.run",
  payload: PAYLOAD,
  scope: SCOPE,
  limits: DEFAULT_LIMITS,
  secrets: { NPM: "a.b.c.d.e", DEPLOY: "a.b.c.d.e" },
};

function decided(change: Partial<ScopedJob>): string {
  const parsed = parsePolicy(
    '[kinds]\nallow = ["test.run"]\n[commands]\nallow = "system"\n[limits]\nweak = "allow"\n',
  );
  if (!parsed.ok) throw new Error(parsed.why);
  const decision = decide({ ...JOB, ...change }, parsed.policy, { limits: "weak", forbidden: [] });
  return decision.ok ? "granted" : `${decision.refusal.code} ${decision.refusal.entry}`;
}

const secrets = (value: object): Partial<ScopedJob> => ({ payload: { ...PAYLOAD, secrets: value } });
const env = (...names: string[]): Partial<ScopedJob> => ({ scope: { ...SCOPE, env: names } });

describe("a job with secrets", () => {
  test.each<[string, Partial<ScopedJob>, string]>([
    ["as it is", {}, "granted"],
    ["all of them for one step", secrets({ run: ["NPM", "DEPLOY"] }), "granted"],
    ["one that no step names", secrets({ run: ["NPM"] }), "SECRET_UNUSED DEPLOY"],
    ["no step names any", { payload: { ...PAYLOAD, secrets: undefined } }, "SECRET_UNUSED NPM"],
    [
      "a step wants one it does not carry",
      secrets({ setup: ["OTHER"], run: ["NPM", "DEPLOY"] }),
      "SECRET_UNCARRIED OTHER",
    ],
    ["it carries none", { secrets: {} }, "SECRET_UNCARRIED NPM"],
    ["one that scope.env does not declare", env("NPM", "STEP"), "SCOPE_PAYLOAD_OUTSIDE DEPLOY"],
    [
      "one that is a plain value as well",
      { payload: { ...PAYLOAD, env: { NPM: "x" } } },
      "SECRET_DOUBLED NPM",
    ],
    ["a step that there is not", secrets({ checkout: ["NPM"] }), "JOB_SCHEMA payload.secrets.checkout"],
    ["one named twice", secrets({ run: ["NPM", "NPM", "DEPLOY"] }), "JOB_SCHEMA payload.secrets.run"],
    ["a name that is none", secrets({ run: ["NPM", "DEPLOY", "A-B"] }), "JOB_SCHEMA payload.secrets.run.2"],
  ])("%s", (_, change, expected) => {
    expect(decided(change)).toBe(expected);
  });

  test.each(["LD_PRELOAD", "PATH", "BASH_ENV", "https_proxy", "GIT_SSH_COMMAND"])(
    "%s is never one",
    (name) => {
      const job = {
        payload: { ...PAYLOAD, secrets: { run: [name] } },
        secrets: { [name]: "a.b.c.d.e" },
        ...env(name, "STEP"),
      };
      expect(decided(job)).toBe(`SCOPE_ENV_DENIED ${name}`);
      const refusal = checkSecretUse([name], { secrets: { run: [name] }, env: {} }, { env: [name] });
      expect(refusal?.code).toBe("SCOPE_ENV_DENIED");
    },
  );
});
