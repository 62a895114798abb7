// Goal: no other process of the agent's user can read its memory, and no core file holds its keys.
// Method: a real process that forbids it, looked at through /proc, whose files then belong to root (proc(5)).

import { expect, test } from "bun:test";
import { join } from "node:path";
import { ROOT } from "../../support/source-files.ts";

const NOBODY = "65534";

test("an undumpable process keeps its memory to itself and still reads its own /proc", () => {
  const code = `
    import { readlinkSync, readFileSync, statSync } from "node:fs";
    import { forbidDumps } from ${JSON.stringify(join(ROOT, "src/cli/forbid-dumps.ts"))};
    const owner = () => statSync("/proc/self/mem").uid;
    const before = owner();
    forbidDumps();
    const child = Bun.spawnSync({ cmd: ["/usr/bin/stat", "-c", "%u", "/proc/" + process.pid + "/environ"], env: {} });
    const read = Bun.spawnSync({ cmd: ["/bin/cat", "/proc/" + process.pid + "/environ"], env: {} });
    console.log(JSON.stringify({
      before, after: owner(), seen: child.stdout.toString().trim(), read: read.exitCode,
      exe: readlinkSync("/proc/self/exe") !== "", mounts: readFileSync("/proc/self/mountinfo").length > 0,
    }));`;
  const asRoot = process.geteuid?.() === 0;
  const drop = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", "--"];
  const child = Bun.spawnSync({
    cmd: [...(asRoot ? drop : []), process.execPath, "-e", code],
    cwd: "/",
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", SECRET: "x" },
  });
  const uid = asRoot ? Number(NOBODY) : (process.geteuid?.() ?? 0);
  expect(JSON.parse(child.stdout.toString())).toEqual({
    before: uid,
    after: 0,
    seen: "0",
    read: 1,
    exe: true,
    mounts: true,
  });
});
