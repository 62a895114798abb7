// Goal: a command started as root works in the agent's directory as the agent's user, with all its threads, for good.
// Method: recorded calls for every case, and one real process that gives root away and tries to get it back.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dropRoot, groupsOf, type Privileges, userName } from "../../../src/cli/drop-root.ts";
import { ROOT } from "../../support/source-files.ts";

const NOBODY = 65534;
const AS_ROOT = process.geteuid?.() === 0;

let place: string;
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), "agentina-drop-"));
});
afterEach(() => {
  rmSync(place, { recursive: true, force: true });
});

/** A process that is root and remembers what it was told. */
function fakeRoot(): Privileges & { calls: unknown[] } {
  const calls: unknown[] = [];
  let uid = 0;
  return {
    calls,
    geteuid: () => uid,
    setgroups: (groups) => calls.push(["setgroups", groups]),
    setgid: (gid) => calls.push(["setgid", gid]),
    setuid: (id) => {
      calls.push(["setuid", id]);
      uid = id;
    },
  };
}

describe("dropRoot", () => {
  test("does nothing for anybody else", () => {
    const fake = { ...fakeRoot(), geteuid: () => 1000 };
    expect(dropRoot("/nonexistent", fake)).toBe("not-root");
    expect(fake.calls).toEqual([]);
  });

  test("has nobody to become where the directory is missing or root's", () => {
    expect(dropRoot(join(place, "missing"), fakeRoot())).toBe("nobody");
    expect(dropRoot("/", fakeRoot())).toBe("nobody");
  });

  test("does not follow a link, nor take a file for a directory", () => {
    symlinkSync("/", join(place, "link"));
    writeFileSync(join(place, "file"), "");
    for (const name of ["link", "file"]) {
      const fake = fakeRoot();
      expect(() => dropRoot(join(place, name), fake)).toThrow("it is not a directory");
      expect(fake.calls).toEqual([]);
    }
  });

  test("gives up groups before the user, in that order", () => {
    if (!AS_ROOT) return expect(AS_ROOT).toBe(false); // only root can make a directory of somebody else's
    mkdirSync(join(place, "state"));
    chownSync(join(place, "state"), NOBODY, 4242);
    writeFileSync(
      join(place, "group"),
      `root:x:0:root\nextra:x:77:daemon,${userName(NOBODY)}\nother:x:78:root\n`,
    );
    const fake = fakeRoot();
    expect(dropRoot(join(place, "state"), fake, join(place, "group"))).toBe("dropped");
    expect(fake.calls).toEqual([
      ["setgroups", [4242, 77]],
      ["setgid", 4242],
      ["setuid", NOBODY],
    ]);
  });

  test("is not believed when the user did not change", () => {
    if (!AS_ROOT) return expect(AS_ROOT).toBe(false);
    mkdirSync(join(place, "state"));
    chownSync(join(place, "state"), NOBODY, NOBODY);
    expect(() => dropRoot(join(place, "state"), { ...fakeRoot(), setuid: () => undefined })).toThrow(
      "Invariant",
    );
  });

  test("takes root from every thread of a real process, for good", () => {
    if (!AS_ROOT) return expect(AS_ROOT).toBe(false);
    mkdirSync(join(place, "state"));
    chownSync(join(place, "state"), NOBODY, NOBODY);
    const code = `
      import { readdirSync, readFileSync } from "node:fs";
      import { readFile } from "node:fs/promises";
      import { dropRoot } from ${JSON.stringify(join(ROOT, "src/cli/drop-root.ts"))};
      await readFile("/etc/passwd");
      dropRoot(${JSON.stringify(join(place, "state"))}, process);
      const ids = new Set(readdirSync("/proc/self/task").map((task) =>
        /Uid:.*/.exec(readFileSync("/proc/self/task/" + task + "/status", "utf8"))[0]));
      const tries = [() => process.setuid(0), () => readFileSync("/etc/shadow"), () => process.setgroups([0])];
      const failed = tries.filter((attempt) => { try { attempt(); return false; } catch { return true; } });
      console.log(JSON.stringify({ ids: [...ids], failed: failed.length }));`;
    const child = Bun.spawnSync({ cmd: [process.execPath, "-e", code], env: { PATH: "/usr/bin:/bin" } });
    expect(JSON.parse(child.stdout.toString())).toEqual({
      ids: [`Uid:\t${NOBODY}\t${NOBODY}\t${NOBODY}\t${NOBODY}`],
      failed: 3,
    });
  });
});

test("users and groups are read as passwd(5) and group(5) have them", () => {
  const passwd = join(place, "passwd");
  const group = join(place, "group");
  writeFileSync(passwd, "root:x:0:0:root:/root:/bin/sh\nagentina:x:990:990::/var/lib/agentina:/bin/false\n");
  writeFileSync(group, "agentina:x:990:\nadm:x:4:syslog,agentina\nbroken\nbad:x:NaN:agentina\n");
  expect(userName(990, passwd)).toBe("agentina");
  expect(userName(991, passwd)).toBeNull();
  expect(userName(0, join(place, "missing"))).toBeNull();
  expect(groupsOf("agentina", 990, group)).toEqual([990, 4]);
  expect(groupsOf(null, 990, group)).toEqual([990]);
});
