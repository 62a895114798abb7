// Goal: a job gets exactly what it declared, or nothing: everything outside the policy, outside its own scope, or not
// enforceable by this build refuses it whole, with the code and the entry that say why.
// Method: one job that is granted; every case changes one thing about job, policy or host.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Scope } from "../../../src/protocol/scope.ts";
import { DEFAULT_LIMITS } from "../../../src/protocol/scope.ts";
import { type Decision, decide, type ScopeHost } from "../../../src/scope/decide.ts";
import { type Policy, parsePolicy } from "../../../src/scope/policy.ts";
import type { ScopedJob } from "../../../src/scope/refusal.ts";

const POLICY = policyOf(`
  [kinds]
  allow = ["test.run"]
  [files]
  read = ["/srv/repos", "/home/ci"]
  write = ["/srv/out"]
  deny = ["/srv/repos/secret"]
  [commands]
  allow = "system"
  [limits]
  weak = "allow"
  timeout_s = 3600
`);
const HOST: ScopeHost = { limits: "weak", forbidden: ["/srv/repos/agent/state", "/opt/agentina"] };
const COMMIT = "a".repeat(40);
const SCOPE: Scope = {
  files: { read: ["/srv/repos/app"], write: ["./"] },
  commands: "system",
  hosts: [],
  env: ["CI_STEP"],
};
const PAYLOAD = {
  source: { type: "git", url: "file:///srv/repos/app", commit: COMMIT },
  setup: [["npm", "ci"]],
  run: ["npm", "test"],
  env: { CI_STEP: "1" },
};
const JOB: ScopedJob = { kind: "test.run", payload: PAYLOAD, scope: SCOPE, limits: DEFAULT_LIMITS };

function policyOf(text: string): Policy {
  const parsed = parsePolicy(text);
  if (!parsed.ok) throw new Error(parsed.why);
  return parsed.policy;
}

const decided = (change: Partial<ScopedJob>, policy = POLICY, host = HOST): Decision =>
  decide({ ...JOB, ...change }, policy, host);
const scope = (change: Partial<Scope>): Partial<ScopedJob> => ({ scope: { ...SCOPE, ...change } });
const payload = (change: Record<string, unknown>): Partial<ScopedJob> => ({
  payload: { ...PAYLOAD, ...change },
});
const refusal = (decision: Decision) => (decision.ok ? null : decision.refusal);
const code = (decision: Decision) => refusal(decision)?.code ?? "GRANTED";

describe("decide", () => {
  test("grants what was asked, unchanged", () => {
    expect(decided({})).toEqual({
      ok: true,
      grant: { scope: SCOPE, limits: DEFAULT_LIMITS, limits_enforced: "weak" },
    });
  });

  test("a kind the policy does not name", () => {
    expect(refusal(decided({}, policyOf("[kinds]\nallow = ['plan.draft']")))).toMatchObject({
      code: "SCOPE_KIND_OUTSIDE_POLICY",
      entry: "test.run",
      rule: "[kinds] allow",
    });
  });

  test("a kind the policy allows and this version does not know", () => {
    const policy = policyOf("[kinds]\nallow = ['ui.exercise']\n[commands]\nallow='system'");
    const job = { kind: "ui.exercise", ...scope({ files: { read: [], write: [] } }) };
    expect(code(decided(job, policy))).toBe("JOB_KIND_UNKNOWN");
  });
});

describe("files", () => {
  const MALFORMED = [
    "",
    ".",
    "..",
    "srv",
    "/srv/",
    "/srv//x",
    "/srv/./x",
    "/srv/../etc",
    "/srv/..",
    "/srv/*",
    "/srv/a?",
    "/srv/[a]",
    "/srv/{a,b}",
    "/srv/a\\b",
    " /srv",
    "/srv/a ",
    "./../x",
    "./a//b",
    "./a/",
    "~",
    "~/x",
    "$HOME",
  ];
  test.each(MALFORMED)("read entry %j is malformed", (entry) => {
    const result = refusal(decided(scope({ files: { read: [entry], write: ["./"] } })));
    expect(result).toMatchObject({ code: "SCOPE_PATH_MALFORMED", entry });
  });

  const FORBIDDEN = [
    "/",
    "/proc",
    "/proc/self",
    "/sys/kernel",
    "/dev/shm",
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/boot",
    "/root",
    "/root/.ssh",
    "/etc",
    "/var",
    "/var/lib",
    "/home",
    "/usr",
    "/tmp",
    "/srv",
    "/work",
    "/work/x",
    "/home/job",
    "/srv/repos/agent/state",
    "/srv/repos/agent/state/keypair",
    "/srv/repos/agent",
    "/srv/repos",
    "/opt/agentina/versions",
  ];
  const everything = policyOf(`
    [kinds]
    allow = ["test.run"]
    [files]
    read = ["/"]
    write = ["/"]
    [commands]
    allow = "system"
    [limits]
    weak = "allow"
  `);
  test.each(FORBIDDEN)("%s is never given, whatever the policy says", (entry) => {
    for (const files of [
      { read: [entry], write: ["./"] },
      { read: [], write: ["./", entry] },
    ]) {
      expect(refusal(decided(scope({ files }), everything))).toMatchObject({
        code: "SCOPE_PATH_FORBIDDEN",
        entry,
      });
    }
  });

  test("programs and configuration are never writable", () => {
    for (const entry of ["/usr/local/bin", "/etc/agentina", "/lib/x"]) {
      expect(code(decided(scope({ files: { read: [], write: ["./", entry] } }), everything))).toBe(
        "SCOPE_PATH_FORBIDDEN",
      );
    }
    const read = { read: ["/srv/repos/app", "/usr/share/dict"], write: ["./"] };
    expect(code(decided(scope({ files: read }), everything))).toBe("GRANTED");
  });

  test("outside the policy's roots", () => {
    expect(refusal(decided(scope({ files: { read: ["/srv/other"], write: ["./"] } })))).toMatchObject({
      code: "SCOPE_PATH_OUTSIDE_POLICY",
      entry: "/srv/other",
      rule: "[files] read",
    });
    // a name that merely begins like a root
    expect(code(decided(scope({ files: { read: ["/srv/repository"], write: ["./"] } })))).toBe(
      "SCOPE_PATH_OUTSIDE_POLICY",
    );
    expect(refusal(decided(scope({ files: { read: [], write: ["./", "/srv/repos/app"] } })))).toMatchObject({
      code: "SCOPE_PATH_OUTSIDE_POLICY",
      rule: "[files] write",
    });
  });

  test("what may be written may be read", () => {
    const files = { read: ["/srv/repos/app", "/srv/out"], write: ["./", "/srv/out/x"] };
    expect(code(decided(scope({ files })))).toBe("GRANTED");
  });

  test("denied, below what is denied, and above it", () => {
    const host = { ...HOST, forbidden: [] };
    for (const entry of ["/srv/repos/secret", "/srv/repos/secret/x", "/srv/repos"]) {
      const files = { read: [entry], write: ["./"] };
      expect(refusal(decided(scope({ files }), POLICY, host))).toMatchObject({
        code: "SCOPE_PATH_OUTSIDE_POLICY",
        rule: '[files] deny "/srv/repos/secret"',
      });
    }
  });

  test("a part of the workspace cannot be enforced; the whole must be writable for a test run", () => {
    const part = scope({ files: { read: ["/srv/repos/app"], write: ["./src"] } });
    expect(refusal(decided(part))).toMatchObject({ code: "SCOPE_WRITE_UNENFORCED", entry: "./src" });
    const none = scope({ files: { read: ["/srv/repos/app", "./"], write: [] } });
    expect(refusal(decided(none))).toMatchObject({ code: "SCOPE_PAYLOAD_OUTSIDE", entry: "./" });
  });

  test("whatever the entry: what is granted is below a root of the policy and holds no way out", () => {
    const part = fc.oneof(
      fc.constantFrom("srv", "repos", "app", "..", ".", "", "secret", "etc", "home", "ci", "*", "agent"),
      fc.string({ maxLength: 8 }),
    );
    const entries = fc.array(part, { maxLength: 6 }).map((parts) => `/${parts.join("/")}`);
    fc.assert(
      fc.property(entries, (entry) => {
        const read = ["/srv/repos/app", entry];
        if (!decided(scope({ files: { read, write: ["./"] } })).ok) return;
        expect(entry).toMatch(/^\/(srv\/repos|srv\/out|home\/ci)(\/|$)/);
        expect(entry.split("/").slice(1)).not.toContain("..");
        expect(entry).not.toContain("//");
        expect(entry).not.toStartWith("/srv/repos/secret/");
        expect(entry).not.toBe("/srv/repos");
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("what this build cannot enforce is refused", () => {
  test.each([
    [scope({ hosts: ["example.com:443"] }), "SCOPE_HOSTS_UNENFORCED", "example.com:443"],
    [scope({ hosts: ["localhost:80"] }), "SCOPE_HOSTS_UNENFORCED", "localhost:80"],
    [scope({ commands: ["npm"] }), "SCOPE_COMMANDS_UNENFORCED", "npm"],
  ] as const)("%j", (change, expected, entry) => {
    expect(refusal(decided(change))).toMatchObject({ code: expected, entry });
  });

  test("weak limits, unless the operator accepts them", () => {
    const strict = { ...POLICY, limits: { ...POLICY.limits, weak: "refuse" as const } };
    expect(refusal(decided({}, strict))).toMatchObject({ code: "HOST_LIMITS_WEAK", rule: "[limits] weak" });
    expect(decided({}, strict, { ...HOST, limits: "cgroup" })).toMatchObject({
      ok: true,
      grant: { limits_enforced: "cgroup" },
    });
  });
});

describe("commands", () => {
  test('"system" must be allowed', () => {
    const policy = { ...POLICY, commands: { allow: "none" as const } };
    expect(refusal(decided({}, policy))).toMatchObject({
      code: "SCOPE_COMMANDS_OUTSIDE_POLICY",
      rule: "[commands] allow",
    });
  });

  test("an empty list starts nothing, and so not the test either", () => {
    expect(refusal(decided(scope({ commands: [] })))).toMatchObject({
      code: "SCOPE_PAYLOAD_OUTSIDE",
      entry: "npm",
    });
  });

  test.each(["/opt/node/bin/node", "/srv/repos/app/x", "/home/job/x", "/usr/../opt/x", "./../../opt/x"])(
    '%s is not of "system"',
    (program) => {
      expect(refusal(decided(payload({ run: [program] })))).toMatchObject({
        code: "SCOPE_PAYLOAD_OUTSIDE",
        entry: program,
      });
      expect(code(decided(payload({ setup: [["true"], [program, "x"]] })))).toBe("SCOPE_PAYLOAD_OUTSIDE");
    },
  );

  test.each(["npm", "/usr/bin/npm", "/bin/sh", "./run.sh", "bin/test", "/work/run.sh"])(
    '%s is of "system"',
    (program) => expect(code(decided(payload({ run: [program] })))).toBe("GRANTED"),
  );
});

describe("environment", () => {
  const DENIED = [
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "BASH_ENV",
    "ENV",
    "NODE_OPTIONS",
    "PYTHONSTARTUP",
    "PERL5OPT",
    "RUBYOPT",
    "JAVA_TOOL_OPTIONS",
    "GIT_SSH_COMMAND",
    "GIT_DIR",
    "BUN_OPTIONS",
    "PATH",
    "HOME",
    "IFS",
    "http_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "AGENTINA_STATE_DIR",
  ];
  test.each(DENIED)("%s may neither be declared nor set", (name) => {
    expect(refusal(decided(scope({ env: ["CI_STEP", name] })))).toMatchObject({
      code: "SCOPE_ENV_DENIED",
      entry: name,
    });
    expect(code(decided(payload({ env: { [name]: "x" } })))).toBe("SCOPE_ENV_DENIED");
  });

  test.each(["NODE_ENV", "PYTHONPATH", "DEBUG", "LANG", "TMPDIR", "MY_PATH"])("%s may", (name) => {
    const job = { ...scope({ env: [name] }), ...payload({ env: { [name]: "x" } }) };
    expect(code(decided(job))).toBe("GRANTED");
  });

  test("what is set must be declared", () => {
    expect(refusal(decided(payload({ env: { OTHER: "1" } })))).toMatchObject({
      code: "SCOPE_PAYLOAD_OUTSIDE",
      entry: "OTHER",
    });
  });
});

test("limits over a ceiling", () => {
  const limits = { ...DEFAULT_LIMITS, timeout_s: 3601 };
  expect(refusal(decided({ limits }))).toMatchObject({
    code: "SCOPE_LIMIT_OUTSIDE_POLICY",
    entry: "timeout_s=3601",
    rule: "[limits] timeout_s",
  });
  expect(code(decided({ limits: { ...limits, timeout_s: 3600 } }))).toBe("GRANTED");
});

describe("source", () => {
  const git = (url: string) => payload({ source: { type: "git", url, commit: COMMIT } });

  test.each([
    ["https://github.com/a/b.git", "SOURCE_NEEDS_EGRESS"],
    ["HTTP://x/", "SOURCE_NEEDS_EGRESS"],
    ["git://x/y", "SOURCE_NEEDS_EGRESS"],
    ["ssh://git@x/y", "SOURCE_UNSUPPORTED"],
    ["git@github.com:a/b.git", "SOURCE_UNSUPPORTED"],
    ["ext::sh -c touch% /tmp/x", "SOURCE_UNSUPPORTED"],
    ["/srv/repos/app", "SOURCE_UNSUPPORTED"],
    ["--upload-pack=touch /tmp/x", "SOURCE_UNSUPPORTED"],
    ["file://host/srv/repos/app", "SOURCE_UNSUPPORTED"],
    ["file:///srv/repos/../../etc", "SOURCE_UNSUPPORTED"],
    ["file:///srv/repos/%2e%2e/%2e%2e/etc", "SOURCE_UNSUPPORTED"],
    ["file:///srv/repos/app?x", "SOURCE_UNSUPPORTED"],
    ["file:///srv/repos/%ff", "SOURCE_UNSUPPORTED"],
    ["file:///", "SOURCE_UNSUPPORTED"],
    ["file:///srv/repos/other", "SCOPE_PAYLOAD_OUTSIDE"],
    ["file:///srv/repos/application", "SCOPE_PAYLOAD_OUTSIDE"],
    ["file:///srv/repos/app", "GRANTED"],
    ["file:///srv/repos/app/sub%20dir", "GRANTED"],
  ])("%s: %s", (url, expected) => {
    expect(code(decided(git(url)))).toBe(expected as never);
  });

  test("credentials in a URL do not get into what is printed", () => {
    const refused = refusal(decided(git("https://me:s3cret@github.com/a/b.git?token=s3cret")));
    expect(JSON.stringify(refused)).not.toContain("s3cret");
    expect(refused?.fault.message).toContain("https://…@github.com/a/b.git");
  });

  test("a bundle must be one of the job's blobs", () => {
    const job = payload({ source: { type: "bundle", blob: "repo", commit: COMMIT } });
    expect(refusal(decided(job))).toMatchObject({ code: "SCOPE_PAYLOAD_OUTSIDE", entry: "repo" });
    expect(code(decided({ ...job, blobs: [{ name: "repo" }] }))).toBe("GRANTED");
  });

  test("a payload that does not fit its kind names the field", () => {
    expect(refusal(decided(payload({ run: [] })))).toMatchObject({
      code: "JOB_SCHEMA",
      entry: "payload.run",
    });
    expect(refusal(decided(payload({ extra: 1 })))).toMatchObject({
      code: "JOB_SCHEMA",
      entry: "payload.extra",
    });
  });
});
