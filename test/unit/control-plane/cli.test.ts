// Goal: the command line does what it says against a real server, tells people what they need, and lets nothing a job
// says act on their terminal.
// Method: the program run in this process with its words caught; one real process for signals and crashes.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CONTROL } from "../../../src/control-plane/cli/control.ts";
import { jsonErrorPosition } from "../../../src/control-plane/cli/json-position.ts";
import type { JobView } from "../../../src/protocol/api.ts";
import { runProgram } from "../../../src/terminal/run-program.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { SUBMISSION, startTestControlPlane, type TestControlPlane } from "./support/control-plane.ts";
import { claimsOf, ScriptedAgent } from "./support/scripted-agent.ts";
import { FAILED_RUN } from "./support/test-run-result.ts";

let control: TestControlPlane;
let scratch: string;
beforeAll(async () => {
  control = await startTestControlPlane();
  scratch = await mkdtemp(join(tmpdir(), "agentina-cli-"));
});
afterAll(async () => {
  await control.close();
  await rm(scratch, { recursive: true, force: true });
});

interface Ran {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

async function run(argv: readonly string[], heard?: (text: string) => void): Promise<Ran> {
  let out = "";
  let err = "";
  const exit = await runProgram(CONTROL, {
    argv,
    env: {},
    execArgv: [],
    compiled: false,
    terminal: {
      out: (text) => {
        out += text;
        heard?.(text);
      },
      say: async (text) => {
        out += text;
      },
      err: (text) => {
        err += text;
      },
      colour: { out: false, err: false },
    },
  });
  return { exit, out, err };
}

const asked = (...words: string[]) => run([...words, "--data-dir", control.running().paths.root]);
const json = async <T>(...words: string[]): Promise<T> =>
  JSON.parse((await asked(...words, "--json")).out) as T;

async function jobFile(value: unknown, name = "job.json"): Promise<string> {
  const path = join(scratch, name);
  await writeFile(path, typeof value === "string" ? value : JSON.stringify(value, null, 2));
  return path;
}

describe("the command line", () => {
  test("has help with examples everywhere", async () => {
    const entries = CONTROL.commands.flatMap((entry) =>
      entry.kind === "group" ? entry.commands.map(({ name }) => [entry.name, name]) : [[entry.name]],
    );
    expect(entries.length).toBeGreaterThan(9);
    for (const words of entries) {
      const { exit, out } = await run([...words, "--help"]);
      expect(exit).toBe(0);
      expect(out).toContain(`agentina-control ${words.join(" ")}`);
      expect(out).toContain("Examples:");
    }
  });

  test.each([
    [["token", "mint", "--ttl", "soon"], 64, "CLI_BAD_VALUE"],
    [["token", "mint", "--lable", "x"], 64, '"--label"'],
    [["token", "revoke", "x"], 64, "CLI_BAD_VALUE"],
    [["job", "show", "job_1"], 64, "CLI_BAD_VALUE"],
    [["job", "list", "--limit", "0"], 64, "CLI_BAD_VALUE"],
    [["job", "list", "--state", "gone"], 64, "CLI_BAD_VALUE"],
    [["account", "plan", "--max-agents", "-1"], 64, "CLI_BAD_VALUE"],
    [["serve", "--listen", "nowhere"], 64, "CLI_BAD_VALUE"],
    [["serve", "--interval", "5"], 64, "CLI_BAD_VALUE"],
    [["serve", "--public-url", "https://x.example/path"], 64, "CLI_BAD_VALUE"],
    [["agent", "list", "--url", "http://control.example", "--key-file", "x"], 64, "WIRE_INSECURE_URL"],
    [["agent", "list", "--url", "https://control.example"], 64, "--key-file"],
    [["agent", "list", "--data-dir", "/nonexistent"], 69, "CONTROL_NOT_SERVING"],
    [
      ["agent", "list", "--url", "http://127.0.0.1:1", "--key-file", "/nonexistent"],
      78,
      "CONTROL_KEY_UNUSABLE",
    ],
    [["jobs"], 64, '"job"'],
  ] as const)("%j fails with %i", async (argv, exit, text) => {
    const ran = await run(argv);
    expect(ran.exit as number).toBe(exit);
    expect(ran.err).toContain(text);
  });

  test("tells a job file's faults by file and place, before anything is sent", async () => {
    const before = (await json<{ jobs: [] }>("job", "list")).jobs.length;
    const cases = [
      [
        { ...SUBMISSION, payload: { source: { type: "empty" }, run: [] } },
        "payload.run: must name a program",
      ],
      [{ ...SUBMISSION, surplus: 1 }, "surplus"],
      ['{\n  "kind": "test.run",\n  "payload": oops\n}', "line 3, column 14"],
      ["", "line 1, column 1"],
      ['{"kind": "a", "kind": "b"}', 'holds the member "kind" twice'],
      [{ ...SUBMISSION, kind: "code.implement" }, 'kind: "code.implement" cannot be run'],
    ] as const;
    for (const [value, text] of cases) {
      const path = await jobFile(value, "bad.json");
      const ran = await asked("job", "submit", path);
      expect([ran.exit, ran.err.includes(`"${path}"`)]).toEqual([65, true]);
      expect(ran.err).toContain(text);
    }
    expect((await asked("job", "submit", join(scratch, "none.json"))).exit).toBe(66);
    const job = await jobFile(SUBMISSION);
    expect((await asked("job", "submit", job, "--blob", "nothing")).exit).toBe(64);
    expect((await asked("job", "submit", job, "--blob", "a=/nonexistent")).exit).toBe(66);
    expect((await json<{ jobs: [] }>("job", "list")).jobs.length).toBe(before);
  });

  test("takes a fleet from token to a watched verdict", async () => {
    expect((await asked("agent", "list")).out).toContain("There are no agents yet");
    const minted = await asked("token", "mint", "--label", "host a", "--ttl", "1h");
    expect(minted.out).toMatch(/^act_[0-9A-Za-z_]+\n$/);
    const agent = await ScriptedAgent.enrol(control.url, minted.out.trim());
    await agent.beat();
    expect((await asked("agent", "list")).out).toContain("idle");

    const bundle = join(scratch, "repo.bundle");
    await writeFile(bundle, "bytes of a bundle");
    const source = { type: "bundle", blob: "repo", commit: "a".repeat(40) };
    const path = await jobFile({ ...SUBMISSION, payload: { source, run: ["npm", "test"] } });
    const submitted = await json<JobView>("job", "submit", path, "--blob", `repo=${bundle}`);
    const [envelope = ""] = (await agent.beat()).jobs;
    const job = claimsOf(envelope);
    expect(job.blobs?.[0]).toMatchObject({ name: "repo", sha256: sha256Of("bytes of a bundle") as never });

    let seen = "";
    const watching = run(
      ["job", "watch", submitted.id, "--data-dir", control.running().paths.root],
      (text) => {
        seen += text;
      },
    );
    const named = { jti: job.jti, attempt: 1 } as const;
    await agent.beat({ jobs: [{ ...named, state: "accepted" }] });
    const progress = { step: "run", step_started_at: Date.now() };
    await agent.beat({ jobs: [{ ...named, state: "running", started_at: Date.now(), progress }] });
    await until(() => seen.includes("── step run"));
    const log = "1..2\n\u001b]0;owned\u0007not ok 2\n";
    await agent.putLog(job.jti, 1, 0, log.slice(0, 5));
    await until(() => seen.includes("1..2\n"));
    await control.restart();
    await agent.putLog(job.jti, 1, 5, log.slice(5));
    const claims = { ...FAILED_RUN, log: { sha256: sha256Of(log), size: Buffer.byteLength(log) } };
    await agent.beat({ receipts: [await agent.receipt(job, envelope, claims)] });

    const watched = await watching;
    expect(watched.exit).toBe(1);
    expect(watched.out).not.toContain("\u001b");
    expect(watched.out).toContain("\\u001b]0;owned\\u0007not ok 2");
    for (const text of [
      "FAILED",
      "1 of 3 tests failed",
      "✗ adds\\u001b[2J numbers",
      "expected 3",
      "npm test",
    ]) {
      expect(watched.out).toContain(text);
    }
    expect(watched.out).toContain("verified: signed by the agent");
    expect(watched.out).toContain("whole and unchanged");

    const shown = await asked("job", "show", submitted.id);
    expect([shown.exit, watched.out.endsWith(shown.out)]).toEqual([0, true]);
    expect((await json<JobView>("job", "show", submitted.id)).receipt?.verified).toBeTrue();
    expect((await asked("job", "list", "--state", "finished")).out).toContain("failed");
    const lines = (await asked("job", "watch", submitted.id, "--json")).out.trim().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { event: string }).event)).toEqual([
      "log",
      "state",
      "outcome",
    ]);
  });

  test("changes and shows the plan", async () => {
    expect((await asked("account", "plan", "--max-agents", "3", "--max-concurrent", "4")).out).toContain(
      "3 agents, 4 jobs at once",
    );
    expect(await json<object>("account", "plan")).toMatchObject({ max_agents: 3 });
    const url = ["--url", control.url, "--key-file", control.running().paths.adminKey];
    expect((await run(["account", "plan", "--max-agents", "10", ...url])).exit).toBe(0);
    expect((await run(["account", "plan", "--max-agents", "0", ...url])).exit).toBe(64);
  });

  test("tells what answers in the server's place", async () => {
    const other = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("<html>") });
    const key = ["--key-file", control.running().paths.adminKey];
    try {
      const ran = await run(["agent", "list", "--url", other.url.origin, ...key]);
      expect([ran.exit, ran.err.includes("WIRE_REPLY_MALFORMED")]).toEqual([69, true]);
    } finally {
      await other.stop(true);
    }
    const gone = await run(["agent", "list", "--url", other.url.origin, ...key]);
    expect([gone.exit, gone.err.includes("API_UNREACHABLE")]).toEqual([69, true]);
  });
});

describe("the place of a JSON error", () => {
  test.each([
    ["{}", null],
    ['[1, "a\\n", {"b": null}]', null],
    ["", { line: 1, column: 1 }],
    ['{"a": 1,}', { line: 1, column: 9 }],
    ['{\n "a": [1 2]\n}', { line: 2, column: 10 }],
    ['{"a": 01}', { line: 1, column: 8 }],
    ["{} {}", { line: 1, column: 4 }],
    ['{"a": "x\ny"}', { line: 1, column: 7 }],
  ] as const)("%p", (text, place) => {
    expect(jsonErrorPosition(text)).toEqual(place);
  });
});

describe("the process", () => {
  const spawn = (dataDir: string, ...words: string[]) =>
    Bun.spawn(
      [
        process.execPath,
        join(import.meta.dir, "../../../src/control.ts"),
        "serve",
        "--data-dir",
        dataDir,
        ...words,
      ],
      {
        stdout: "pipe",
        stderr: "pipe",
        env: { PATH: process.env["PATH"] ?? "" },
      },
    );

  test("serves until SIGTERM and ends with 0; after SIGKILL the next one serves on, on the same port", async () => {
    const dataDir = join(scratch, "served");
    const first = spawn(dataDir, "--listen", "127.0.0.1:0", "--json");
    const { url } = (await firstObject(first.stdout)) as { url: string };
    const { port } = new URL(url);
    first.kill("SIGKILL");
    await first.exited;
    const gone = await run(["agent", "list", "--data-dir", dataDir]);
    expect([gone.exit, gone.err.includes("API_UNREACHABLE")]).toEqual([69, true]);
    const second = spawn(dataDir, "--listen", `127.0.0.1:${port}`, "--json");
    await firstObject(second.stdout);
    const third = spawn(dataDir, "--listen", "127.0.0.1:0");
    expect(await third.exited).toBe(75);
    expect(await new Response(third.stderr).text()).toContain(`pid ${second.pid}`);
    expect((await run(["agent", "list", "--data-dir", dataDir])).exit).toBe(0);
    second.kill("SIGTERM");
    expect(await second.exited).toBe(0);
    const lines = (await new Response(second.stderr).text()).trim().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { message: string }).message)).toEqual([
      "serving",
      "stopping",
    ]);
  });
});

async function firstObject(stream: ReadableStream<Uint8Array>): Promise<unknown> {
  let text = "";
  for await (const chunk of stream) {
    text += new TextDecoder().decode(chunk);
    if (text.includes("\n")) return JSON.parse(text);
  }
  throw new Error(`it said only "${text}"`);
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error("it did not come about");
    await Bun.sleep(10);
  }
}
