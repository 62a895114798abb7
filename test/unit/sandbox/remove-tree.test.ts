// Goal: what a job wrote can be removed, however it left it, and nothing else goes with it.
// Method: trees with unwritable directories and links out; the link's target must stay.

import { expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { removeTree } from "../../../src/sandbox/remove-tree.ts";
import { tempDir } from "./sandbox-bench.ts";

test("unwritable and unreadable directories go, the targets of links stay", async () => {
  using dir = tempDir();
  const tree = join(dir.path, "tree");
  const kept = join(dir.path, "kept");
  mkdirSync(kept);
  chmodSync(kept, 0o500);
  mkdirSync(join(tree, "a/b/c"), { recursive: true });
  writeFileSync(join(tree, "a/b/c/file"), "");
  symlinkSync(kept, join(tree, "a/link"));
  chmodSync(join(tree, "a/b/c"), 0o000);
  chmodSync(join(tree, "a/b"), 0o555);
  await removeTree(tree);
  expect(existsSync(tree)).toBe(false);
  expect(existsSync(kept)).toBe(true);
});

test("a tree that is not there is removed already", async () => {
  using dir = tempDir();
  await removeTree(join(dir.path, "nothing"));
  expect(existsSync(dir.path)).toBe(true);
});
