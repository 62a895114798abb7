// From submitting a job to the first line of its own output, on an idle agent that is woken to beat at once.
// The bound of the same run: the same shell line in a bare bubblewrap with the same kind of view.
// Bound: median of the whole at most 150 ms, without the checkout.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { makeExampleRepository } from "../../dist-scripts/example-repository.ts";
import { API, type JobView } from "../../src/protocol/api.ts";
import { type Fleet, finished, idle, repositoryDir, startFleet } from "../support/fleet.ts";

const ROUNDS = 10;
const BOUND_MS = 150;
/** Lets the budget for unasked heartbeats (five, then one every two seconds) fill up between rounds. */
const PAUSE_MS = 6_500;
const SAY_WHEN = "date +%s%N";

const median = (values: number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

function bareSandboxMs(): number {
  const began = performance.now();
  Bun.spawnSync({
    cmd: [
      "/usr/bin/bwrap",
      ...[
        "--unshare-user",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--die-with-parent",
      ],
      ...["--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"],
      ...["--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"],
      ...["sh", "-c", SAY_WHEN],
    ],
    env: { PATH: "/usr/bin:/bin" },
  });
  return performance.now() - began;
}

async function roundMs(
  fleet: Fleet,
  key: string,
  source: object,
  read: string[],
): Promise<{ all: number; checkout: number }> {
  const job = {
    kind: "test.run",
    payload: { source, run: ["sh", "-c", SAY_WHEN], report: { format: "exit" } },
    scope: { files: { read, write: ["./"] }, commands: "system", hosts: [], env: [] },
  };
  const began = Date.now();
  const answer = await fetch(new URL(API.jobs, fleet.control.url), {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify(job),
  });
  const { id } = (await answer.json()) as JobView;
  const done = await finished(fleet.world, id);
  const log = readFileSync(join(fleet.world.logs, "jobs", `${id}.1.log`), "utf8");
  const said = Number(/^(\d{19})$/m.exec(log)?.[1] ?? Number.NaN) / 1e6;
  const steps = done.receipt?.claims.result?.steps ?? [];
  const checkout = steps
    .filter(({ name }) => name.startsWith("checkout"))
    .reduce((sum, { ms }) => sum + ms, 0);
  return { all: said - began, checkout };
}

const fleet = await startFleet("bench-submit");
try {
  const key = readFileSync(join(fleet.world.controlData, "admin.key"), "utf8").trim();
  const repository = makeExampleRepository(repositoryDir(fleet.world, "slug"));
  await idle(fleet.world);
  const bare: number[] = [];
  const empty: number[] = [];
  const cloned: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await Bun.sleep(PAUSE_MS);
    bare.push(bareSandboxMs());
    empty.push((await roundMs(fleet, key, { type: "empty" }, [])).all);
    await Bun.sleep(PAUSE_MS);
    const source = { type: "git", url: repository.url, commit: repository.commit };
    const { all, checkout } = await roundMs(fleet, key, source, [repository.path]);
    cloned.push(all - checkout);
  }
  console.log(`bare bubblewrap around the same line   ${median(bare).toFixed(1)} ms (median of ${ROUNDS})`);
  console.log(`submit to first output, empty source   ${median(empty).toFixed(1)} ms`);
  console.log(
    `submit to first output, over the clone ${median(cloned).toFixed(1)} ms, worst ${Math.max(...cloned).toFixed(1)} ms`,
  );
  console.log(
    `over the clone / bound                 ${(median(cloned) / BOUND_MS).toFixed(2)} (bound ${BOUND_MS} ms)`,
  );
  process.exitCode = median(cloned) <= BOUND_MS ? 0 : 1;
} finally {
  await fleet.world.close();
}
