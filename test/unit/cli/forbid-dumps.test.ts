// Goal: no other process of the agent's user can read its memory, and no core file holds its keys.
// Method: a real process that forbids it, looked at through /proc, whose files then belong to root (proc(5)).

import { afterEach, expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT } from "../../support/source-files.ts";

const NOBODY = "65534";
const place = mkdtempSync(join(tmpdir(), "agentina-dumps-"));
afterEach(() => rmSync(place, { recursive: true, force: true }));

/** Runtime and code where anybody may read them: root's checkout may be closed to the user this runs as. */
async function program(code: string): Promise<string[]> {
  chmodSync(place, 0o755);
  const [bun, entry] = [join(place, "bun"), join(place, "entry.ts")];
  copyFileSync(process.execPath, bun);
  writeFileSync(entry, code);
  const built = await Bun.build({ entrypoints: [entry], target: "bun", outdir: join(place, "built") });
  return [bun, built.outputs[0]?.path ?? ""];
}

test("an undumpable process keeps its memory to itself and still reads its own /proc", async () => {
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
    cmd: [...(asRoot ? drop : []), ...(await program(code))],
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
