// Goal: the operator's policy is read strictly; nothing in it is guessed and nothing forgotten opens a door.
// Method: parse whole texts, good and bad, and look at the value or at the reason given.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { parsePolicy } from "../../../src/scope/policy.ts";
import { ROOT } from "../../support/source-files.ts";

const why = (text: string): string => {
  const parsed = parsePolicy(text);
  return parsed.ok ? "accepted" : parsed.why;
};

describe("parsePolicy", () => {
  test("reads every key", () => {
    const parsed = parsePolicy(`
      [kinds]
      allow = ["test.run"]
      [files]
      read = ["/srv/repos"]
      write = ["/srv/out"]
      deny = ["/srv/repos/private"]
      [commands]
      allow = "system"
      [limits]
      weak = "allow"
      timeout_s = 60
      memory_bytes = 1_000_000_000
      pids = 64
      output_bytes = 1048576
      workspace_bytes = 4294967296
    `);
    expect(parsed).toEqual({
      ok: true,
      policy: {
        kinds: { allow: ["test.run"] },
        files: { read: ["/srv/repos"], write: ["/srv/out"], deny: ["/srv/repos/private"] },
        commands: { allow: "system" },
        limits: {
          weak: "allow",
          timeout_s: 60,
          memory_bytes: 1_000_000_000,
          pids: 64,
          output_bytes: 1_048_576,
          workspace_bytes: 4_294_967_296,
        },
      },
    });
  });

  test("an empty file allows nothing", () => {
    expect(parsePolicy("")).toEqual({
      ok: true,
      policy: {
        kinds: { allow: [] },
        files: { read: [], write: [], deny: [] },
        commands: { allow: "none" },
        limits: { weak: "refuse" },
      },
    });
  });

  test.each([
    ["[kinds]\nallow = [\n", "line 3, column 1"],
    ["[kinds]\nallow = ['test.run'] x", "line 2, column 22"],
    ["[kinds]\nallow = []\nallow = []", "line 3"],
    ["x = 99999999999999999999", "line 1, column 5"],
    ["constructor = 1", "line 1, column 1: document contains an unsafe property"],
  ])("a syntax error names its place: %j", (text, place) => {
    expect(why(text)).toStartWith(place);
  });

  test.each([
    ["[kind]\nallow = []", 'unknown key "kind"'],
    ["[kinds]\nalow = []", 'unknown key "kinds.alow"'],
    ["[limits]\nweek = 'allow'", 'unknown key "limits.week"'],
    ["[hosts]\nallow = ['*']", 'unknown key "hosts"'],
    ["require_second = true", 'unknown key "require_second"'],
  ])("an unknown key is named: %j", (text, expected) => {
    expect(why(text)).toContain(expected);
  });

  test.each([
    ["[kinds]\nallow = ['test.rum']", "kinds.allow.0"],
    ["[kinds]\nallow = 'test.run'", "kinds.allow"],
    ["[files]\nread = ['srv']", "is not absolute"],
    ["[files]\nread = ['/srv/../etc']", 'holds ".."'],
    ["[files]\nread = ['/srv//x']", "doubled slash"],
    ["[files]\nwrite = ['/srv/']", "ends with a slash"],
    ["[files]\ndeny = ['/srv/*']", "glob"],
    ["[commands]\nallow = ['git']", "commands.allow"],
    ["[limits]\nweak = true", '"limits.weak"'],
    ["[limits]\ntimeout_s = 0", "limits.timeout_s"],
    ["[limits]\ntimeout_s = 1.5", "whole number"],
    ["[limits]\npids = 2020-01-01", "limits.pids"],
  ])("a wrong value names its key: %j", (text, expected) => {
    expect(why(text)).toContain(expected);
  });

  test("a text beyond any sane policy is not even parsed", () => {
    expect(why(`#${"x".repeat(70_000)}`)).toContain("longer than 65536");
  });

  test("the commented example is a policy", async () => {
    const parsed = parsePolicy(await Bun.file(join(ROOT, "docs/examples/policy.toml")).text());
    expect(parsed).toMatchObject({
      ok: true,
      policy: { kinds: { allow: ["test.run"] }, commands: { allow: "system" }, limits: { weak: "refuse" } },
    });
  });
});
