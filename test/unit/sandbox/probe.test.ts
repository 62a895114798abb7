// Goal: a host is called able when a job's view works on it, and otherwise says what is missing and what to do.
// Method: probe the real host, then places where the programs are missing, unsafe, or something else.

import { describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { probeHost, usernsRemedy } from "../../../src/sandbox/probe.ts";
import { BWRAP, tempDir } from "./sandbox-bench.ts";

const GIT = ["/usr/bin/git"];

describe("probeHost", () => {
  test("this host can", async () => {
    expect(await probeHost()).toMatchObject({
      ok: true,
      problems: [],
      codes: [],
      bwrapPath: BWRAP,
      gitPath: "/usr/bin/git",
      kinds: ["test.run"],
      limits: "weak",
    });
  });

  test("without bubblewrap nothing runs", async () => {
    const host = await probeHost({ bwrap: ["/nonexistent/bwrap"], git: GIT });
    expect(host).toMatchObject({
      ok: false,
      codes: ["BWRAP_MISSING"],
      bwrapPath: null,
      kinds: [],
      layers: [],
    });
    expect(host.problems[0]?.remedy).toContain("bubblewrap");
  });

  test("without git the rest runs", async () => {
    const host = await probeHost({ bwrap: [BWRAP], git: ["/nonexistent/git"] });
    expect(host).toMatchObject({ ok: true, problems: [], codes: ["GIT_MISSING"], gitPath: null });
    expect(host.kinds).toEqual(["test.run"]);
  });

  test("a bubblewrap others could replace is not used", async () => {
    using dir = tempDir();
    const copy = join(dir.path, "bwrap");
    copyFileSync(BWRAP, copy);
    chmodSync(copy, 0o755);
    const host = await probeHost({ bwrap: [copy], git: GIT });
    expect(host).toMatchObject({ ok: false, codes: ["BWRAP_UNUSABLE"], bwrapPath: null });
    expect(host.problems[0]?.message).toMatch(/others than root can write "\/tmp"|belongs to uid \d+/);
  });

  test("what is not a program, or not bubblewrap", async () => {
    using dir = tempDir();
    mkdirSync(join(dir.path, "directory"));
    writeFileSync(join(dir.path, "plain"), "");
    for (const name of ["directory", "plain"]) {
      const host = await probeHost({ bwrap: [join(dir.path, name)], git: GIT });
      expect(host.codes).toEqual(["BWRAP_UNUSABLE"]);
    }
    const other = await probeHost({ bwrap: ["/usr/bin/false"], git: GIT });
    expect(other.problems[0]).toMatchObject({ code: "BWRAP_UNUSABLE" });
    expect(other.problems[0]?.message).toContain("said nothing");
  });
});

describe("usernsRemedy", () => {
  test.each([
    [{ max: "0", clone: null, apparmor: null }, "user.max_user_namespaces"],
    [{ max: "100", clone: "0", apparmor: null }, "kernel.unprivileged_userns_clone=1"],
    [{ max: "100", clone: "1", apparmor: "1" }, "AppArmor"],
    [{ max: "100", clone: null, apparmor: null }, "RestrictNamespaces"],
  ])("%j", (facts, expected) => {
    expect(usernsRemedy(facts)).toContain(expected);
  });
});
