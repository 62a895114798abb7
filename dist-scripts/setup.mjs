// Makes a clean clone usable: installs exactly what package-lock.json names. Runs before every script,
// under node or Bun alike, so it may import nothing but node: modules. Does nothing when all is in place.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const stamp = join(root, "node_modules", ".agentina-setup");
const bunExecutable = join(root, "node_modules", "bun", "bin", "bun.exe");
// A real Bun is about 100 MB; what an install without lifecycle scripts leaves is a few hundred bytes.
const SMALLEST_REAL_BUN_BYTES = 1 << 20;

const lockText = readFileSync(join(root, "package-lock.json"));
const wanted = `${process.platform}-${process.arch} ${createHash("sha256").update(lockText).digest("hex")}`;

if (readStamp() !== wanted) {
  if (!everyLockedPackageIsInstalled()) installLockedPackages();
  writeFileSync(stamp, wanted);
}
if (!isRealBun()) completeBun();

function readStamp() {
  return existsSync(stamp) ? readFileSync(stamp, "utf8") : "";
}

/** Someone may have run `npm ci` by hand, and be offline by now: take what is there when it is right. */
function everyLockedPackageIsInstalled() {
  const packages = Object.entries(JSON.parse(lockText.toString("utf8")).packages);
  return packages.every(([path, locked]) => {
    if (path === "" || locked.optional) return true;
    const manifest = join(root, path, "package.json");
    return existsSync(manifest) && JSON.parse(readFileSync(manifest, "utf8")).version === locked.version;
  });
}

function installLockedPackages() {
  console.error("Installing the locked dependencies ...");
  const status = run(...installer());
  if (status !== 0) fail(`Cannot install the locked dependencies: the installer ended with status ${status}`);
}

/** Whoever runs the script installs too: npm when npm does, Bun when Bun does. */
function installer() {
  const runner = process.env.npm_execpath ?? "";
  const npmArguments = ["ci", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"];
  if (basename(runner).startsWith("bun")) return [runner, ["ci"]];
  if (runner.endsWith(".js") && !process.versions.bun) return [process.execPath, [runner, ...npmArguments]];
  return process.versions.bun ? [process.execPath, ["ci"]] : ["npm", npmArguments];
}

function isRealBun() {
  return existsSync(bunExecutable) && statSync(bunExecutable).size >= SMALLEST_REAL_BUN_BYTES;
}

/** After an install with `--ignore-scripts` the runtime is there but not linked; this needs no network. */
function completeBun() {
  run(process.execPath, [join(root, "node_modules", "bun", "install.js")]);
  if (!isRealBun()) {
    fail(
      "Cannot find the Bun runtime in node_modules: it is an optional package that was left out.\n" +
        "Remove node_modules and run the command again without --omit=optional.",
    );
  }
}

function run(command, commandArguments) {
  const child = spawnSync(command, commandArguments, { cwd: root, stdio: ["ignore", 2, 2] });
  if (child.error) fail(`Cannot start "${command}": ${child.error.message}`);
  return child.status ?? 1;
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
