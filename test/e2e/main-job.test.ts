// Goal: one signed job goes all the way through the compiled programs, and the record of it can be checked.
// Method: real Control Plane and agent as unprivileged processes, real HTTP, a real git repository, real bubblewrap.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { capture } from "../../dist-scripts/command.ts";
import {
  type ExampleRepository,
  exampleJob,
  makeExampleRepository,
} from "../../dist-scripts/example-repository.ts";
import { agentFlags, controlJson } from "../../dist-scripts/world.ts";
import type { AgentView, JobView } from "../../src/protocol/api.ts";
import { type Fleet, finished, repositoryDir, shellJob, startFleet, submit } from "../support/fleet.ts";

let fleet: Fleet;
let repository: ExampleRepository;

beforeAll(async () => {
  fleet = await startFleet("main");
  repository = makeExampleRepository(repositoryDir(fleet.world, "slug"));
}, 60_000);

afterAll(async () => {
  await fleet?.world.close();
}, 60_000);

test("a file:// repository's tests run, the failing one is named, the receipt verifies", async () => {
  const { id } = await submit(fleet.world, exampleJob(repository));
  const job = await finished(fleet.world, id);
  expect([job.outcome, job.reason, job.agent_id]).toEqual(["failed", "tests_failed", fleet.agentId as never]);
  expect(job.receipt?.verified).toBe(true);
  const result = job.receipt?.claims.result;
  expect(result?.totals).toEqual({ tests: 4, passed: 3, failed: 1, skipped: 0 });
  expect(result?.failing.map((failing) => failing.name)).toEqual(["shortens a long title"]);
  expect(result?.failing[0]?.message).toContain("expected a-very-long-title");
  expect(result?.commit).toBe(repository.commit);
  expect(job.receipt?.claims.survivors).toBe(0);
  expect(job.receipt?.claims.grant?.limits_enforced).toBe("weak");
}, 60_000);

test("a git bundle, uploaded with the job, is fetched, checked and run", async () => {
  const bundle = join(fleet.world.dir, "slug.bundle");
  const made = capture([
    "/usr/bin/git",
    "-C",
    repository.path,
    "bundle",
    "create",
    "--quiet",
    bundle,
    "HEAD",
  ]);
  expect(made.status).toBe(0);
  const job = exampleJob(repository) as { payload: object; scope: object };
  const { id } = await submit(
    fleet.world,
    {
      ...job,
      payload: { ...job.payload, source: { type: "bundle", blob: "tree", commit: repository.commit } },
      scope: { ...job.scope, files: { read: [], write: ["./"] } },
    },
    ["--blob", `tree=${bundle}`],
  );
  const done = await finished(fleet.world, id);
  expect([done.outcome, done.receipt?.claims.result?.totals?.passed]).toEqual(["failed", 3]);
}, 60_000);

test("the job's own output arrives as its log, whole and checked", async () => {
  const { id } = await submit(fleet.world, shellJob("seq 1 20000; echo the end"));
  const done = await finished(fleet.world, id);
  expect(done.outcome).toBe("succeeded");
  const size = done.receipt?.claims.log?.size ?? 0;
  expect(size).toBeGreaterThan(100_000);
  const deadline = Date.now() + 20_000;
  let stored = 0;
  while (stored < size && Date.now() < deadline) {
    stored = (await controlJson<JobView>(fleet.world, ["job", "show", id])).log_bytes;
    await Bun.sleep(100);
  }
  expect(stored).toBe(size);
}, 60_000);

test("a job that asks for a network host is refused by name before anything runs", async () => {
  const job = shellJob("echo must not run") as { scope: object };
  const { id } = await submit(fleet.world, { ...job, scope: { ...job.scope, hosts: ["example.com:443"] } });
  const done = await finished(fleet.world, id);
  expect([done.outcome, done.reason, done.started_at]).toEqual(["refused", "SCOPE_HOSTS_UNENFORCED", null]);
  expect(done.receipt?.claims.refusal?.remedy).toContain("scope.hosts");
}, 60_000);

test("a source that needs the network is refused with SOURCE_NEEDS_EGRESS", async () => {
  const job = exampleJob({ ...repository, url: "https://git.example.com/slug.git" });
  const done = await finished(fleet.world, (await submit(fleet.world, job)).id);
  expect([done.outcome, done.reason]).toEqual(["refused", "SOURCE_NEEDS_EGRESS"]);
}, 60_000);

test("the sandbox holds: no network, no other files, nothing of the agent's environment, no root", async () => {
  writeFileSync(join(fleet.world.dir, "outside.txt"), "untouched");
  // The log shows the command itself, so a mark counts only as the shell writes it: with its digit.
  const script = [
    'echo "uid=$(id -u)"',
    '(echo hi > /usr/bin/agentina-was-here) 2>/dev/null && echo "WROTE-USR$((1))"',
    `(cat ${fleet.world.dir}/outside.txt) 2>/dev/null && echo "READ-OUTSIDE$((1))"`,
    `(cat ${fleet.world.state}/license.jwt) 2>/dev/null && echo "READ-STATE$((1))"`,
    'echo "interfaces=$(grep -c : /proc/net/dev)"',
    "env | sort",
    "echo inside > made-here && cat made-here",
  ].join("; ");
  const done = await finished(fleet.world, (await submit(fleet.world, shellJob(script))).id);
  expect(done.outcome).toBe("succeeded");
  const log = await logOf(done.id);
  for (const never of ["WROTE-USR1", "READ-OUTSIDE1", "READ-STATE1", "uid=0", "AGENTINA_", "SETPRIV"]) {
    expect(log).not.toContain(never);
  }
  expect(log).toContain("interfaces=1\n"); // the loopback of its own network namespace, nothing else
  expect(log).toContain("inside"); // the control beside the denials: the workspace can be written
}, 60_000);

test("status --json and agent list tell the same agent", async () => {
  const { world, agentId } = fleet;
  const ran = await world.run("agent", [world.agentina, "status", "--json", ...agentFlags(world)]);
  const status = JSON.parse(ran.stdout);
  expect(status).toMatchObject({ agent_id: agentId, running: true, findings: [] });
  expect(["idle", "working"]).toContain(status.state);
  expect(status.license.max_concurrent_tasks_per_agent).toBeGreaterThan(0);
  expect(status.license.expires_at).toBeGreaterThan(Date.now());
  expect(status.last_heartbeat.at).toBeGreaterThan(Date.now() - 120_000);
  expect(status.fingerprint.id).toStartWith("fp_");
  const { agents } = await controlJson<{ agents: AgentView[] }>(world, ["agent", "list"]);
  expect(agents.map((agent) => agent.id)).toEqual([agentId as never]);
}, 60_000);

async function logOf(id: string): Promise<string> {
  const argv = [fleet.world.agentinaControl, "job", "watch", id, "--data-dir", fleet.world.controlData];
  return (await fleet.world.run("control", argv)).stdout;
}
