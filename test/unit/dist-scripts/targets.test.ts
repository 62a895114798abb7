// Goal: every target can be built from what the lock file pins, and this machine is one of them.
// Method: read the lock file, and ask for this machine's target.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { hostTarget, isTarget, TARGETS } from "../../../dist-scripts/targets.ts";
import { ROOT } from "../../support/source-files.ts";

test("the targets are Linux on both processors with both C libraries", () => {
  expect([...TARGETS].sort()).toEqual(["linux-arm64", "linux-arm64-musl", "linux-x64", "linux-x64-musl"]);
  expect(["toString", "linux", "win32-x64"].filter(isTarget)).toEqual([]);
});

test("this machine is one of them", () => {
  expect(hostTarget()).toStartWith(`linux-${process.arch}`);
});

test("the lock file pins a runtime for each, of the version that builds", async () => {
  const { packages } = await Bun.file(join(ROOT, "package-lock.json")).json();
  for (const target of TARGETS) {
    const name = target.replace("arm64", "aarch64");
    expect(packages[`node_modules/@oven/bun-${name}`]).toMatchObject({ version: Bun.version });
  }
});
