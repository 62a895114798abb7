// npm run bench [-- name ...]: runs the measurements in test/bench, each a script of its own, one by one.

import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { passThrough } from "./command.ts";

const directory = join(import.meta.dir, "..", "test", "bench");
const wanted = process.argv.slice(2);
const scripts = existsSync(directory)
  ? (await Array.fromAsync(new Bun.Glob("*.ts").scan({ cwd: directory, absolute: true }))).sort()
  : [];
const chosen = scripts.filter((path) => wanted.length === 0 || wanted.includes(basename(path, ".ts")));
if (chosen.length === 0) {
  console.error(`Cannot measure: no script in test/bench is called ${wanted.join(", ") || "*.ts"}`);
  process.exit(1);
}

const failed: string[] = [];
for (const path of chosen) {
  console.log(`\n== ${basename(path, ".ts")}`);
  if ((await passThrough([process.execPath, path])) !== 0) failed.push(basename(path, ".ts"));
}
if (failed.length > 0) {
  console.error(`\nOut of bounds: ${failed.join(", ")}`);
  process.exit(1);
}
