// Goal: a missing program of the host ends in one line that can be pasted, or in its installation.
// Method: give the decisions made-up hosts, and run the real check where PATH holds nothing.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { distributionIn, installCommand, missingTools } from "../../../dist-scripts/host-tools.ts";

const nothing = () => null;
const everything = (name: string) => `/usr/bin/${name}`;
const packagesFor = (occasion: "start" | "test") =>
  installCommand(missingTools(occasion, nothing), { distribution: "debian", uid: 0 });

describe("missing tools", () => {
  test("are none where all is there", () => {
    expect(missingTools("test", everything)).toEqual([]);
  });

  test("name a browser only for the tests", () => {
    expect(packagesFor("start")).toEndWith("--no-install-recommends git bubblewrap openssl");
    expect(packagesFor("test")).toEndWith("--no-install-recommends git bubblewrap openssl chromium");
  });

  test("are satisfied by any browser of the family", () => {
    const found = (name: string) => (name === "google-chrome" ? "/opt/google-chrome" : null);
    expect(missingTools("test", found).flatMap(({ executables }) => executables)).not.toContain("chromium");
  });
});

describe("the line to paste", () => {
  const git = missingTools("start", (name) => (name === "git" ? null : `/usr/bin/${name}`));

  test("asks for sudo where it is needed", () => {
    const line = installCommand(git, { distribution: "debian", uid: 1000 });
    expect(line).toBe("sudo apt-get update && sudo apt-get install -y --no-install-recommends git");
  });

  test("is not made up where apt is not the package manager", () => {
    expect(installCommand(git, { distribution: "other", uid: 0 })).toBeUndefined();
  });
});

describe("the distribution", () => {
  test.each([
    ['PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\n', "debian"],
    ["NAME=Ubuntu\nID=ubuntu\nID_LIKE=debian\n", "ubuntu"],
    ['ID=linuxmint\nID_LIKE="ubuntu debian"\n', "ubuntu"],
    ["ID=fedora\n", "other"],
    ["VERSION_ID=debian\n", "other"],
    ["", "other"],
  ] as const)("in %p is %s", (text, expected) => {
    expect(distributionIn(text)).toBe(expected);
  });
});

test("the check itself ends non-zero with the remedy when nothing may be installed", async () => {
  const script = join(import.meta.dir, "../../../dist-scripts/host-tools.ts");
  const child = Bun.spawn({
    cmd: [process.execPath, script, "start"],
    stdout: "ignore",
    stderr: "pipe",
    env: { PATH: "/nonexistent" },
  });
  const said = await child.stderr.text();
  expect(await child.exited).toBe(1);
  expect(said).toContain("Cannot");
  expect(said).toMatch(/apt-get install|package manager/);
});
