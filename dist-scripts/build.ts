// npm run build [-- --target linux-arm64 ...] [-- --if-changed]
// Compiles both programs, tries them out, signs them and puts them into dist/ (dist/<target>/ for others).

import { existsSync } from "node:fs";
import { chmod, mkdir, rename, rm } from "node:fs/promises";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { readBuildConstants } from "./build-constants.ts";
import { BuildError, compileProgram, PROGRAMS, type Project } from "./programs.ts";
import { bundlePath, signFile } from "./sign.ts";
import { developmentKey, type SigningKey } from "./signing-key.ts";
import { smokeTest } from "./smoke.ts";
import { isUpToDate, type Stamp, sourceHash, stampPath } from "./source-stamp.ts";
import { hostTarget, isTarget, runtimeFor, TARGETS, type Target } from "./targets.ts";

const ROOT = join(import.meta.dir, "..");

export interface BuildOptions {
  readonly targets: readonly Target[];
  /** Leave a build alone that was made from exactly these sources. */
  readonly ifChanged: boolean;
  /** Pin no development key and sign nothing: release keys sign elsewhere. */
  readonly release: boolean;
}

/** Builds both programs for every target named. Throws a sentence fit to print. */
export async function build(options: BuildOptions): Promise<void> {
  const key = options.release ? undefined : await developmentKey(ROOT);
  for (const target of options.targets) await buildTarget(target, key, options.ifChanged);
}

async function buildTarget(target: Target, key: SigningKey | undefined, ifChanged: boolean): Promise<void> {
  const constants = await readBuildConstants(ROOT, target, key?.publicKeyPem ?? "", process.env);
  if (key === undefined && !/^[0-9a-f]{40,64}$/.test(constants.commit)) {
    throw new BuildError(
      `Cannot build a release: the checkout is at "${constants.commit}", not at a clean commit`,
    );
  }
  const isHost = target === hostTarget();
  const directory = isHost ? join(ROOT, "dist") : join(ROOT, "dist", target);
  const sources = await sourceHash(ROOT, constants);
  if (ifChanged && (await isUpToDate(directory, sources))) return;

  const started = performance.now();
  // Beside its destination, so that a rename moves it there whole; the base name is part of the bytes.
  const workshop = join(directory, `.build-${process.pid}`);
  await mkdir(workshop, { recursive: true });
  await clearAbandoned(directory);
  try {
    const made = await makePrograms({ root: ROOT, constants }, workshop, key, isHost ? undefined : target);
    await publish(workshop, directory, made, sources);
  } finally {
    await rm(workshop, { recursive: true, force: true });
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.error(
    `Built ${relative(ROOT, directory)}/{${PROGRAMS.map(({ name }) => name).join(",")}} in ${seconds} s`,
  );
}

/** A build that was killed leaves its workshop, 200 MB of it, behind. */
async function clearAbandoned(directory: string): Promise<void> {
  for await (const name of new Bun.Glob(".build-*/").scan({ cwd: directory, dot: true, onlyFiles: false })) {
    const pid = Number(name.match(/^\.build-(\d+)/)?.[1]);
    if (pid > 0 && !existsSync(`/proc/${pid}`))
      await rm(join(directory, name), { recursive: true, force: true });
  }
}

/** Compiles, tries and signs every program in `workshop`, and names the files it made there. */
async function makePrograms(project: Project, workshop: string, key?: SigningKey, foreign?: Target) {
  const runtime = foreign === undefined ? undefined : await runtimeFor(foreign, project.root);
  const made: string[] = [];
  for (const program of PROGRAMS) {
    const binary = join(workshop, program.name);
    await compileProgram(program, project, binary, runtime);
    await chmod(binary, 0o755);
    if (foreign === undefined) await smokeTest(binary, project.constants.version, project.root);
    made.push(program.name);
    if (key === undefined) continue;
    await Bun.write(bundlePath(binary), JSON.stringify(await signFile(binary, key.privateKey)));
    made.push(bundlePath(program.name));
  }
  return made;
}

async function publish(workshop: string, directory: string, made: readonly string[], sources: string) {
  // First what speaks of the old binaries: cut short, a build leaves some without a word, never with a wrong one.
  await rm(stampPath(directory), { force: true });
  for (const { name } of PROGRAMS) await rm(join(directory, bundlePath(name)), { force: true });
  const sizes: Record<string, number> = {};
  for (const name of made) {
    sizes[name] = Bun.file(join(workshop, name)).size;
    await rename(join(workshop, name), join(directory, name));
  }
  const stamp: Stamp = { sources, sizes };
  await Bun.write(stampPath(directory), JSON.stringify(stamp));
}

function readOptions(argv: string[]): BuildOptions {
  const { values } = parseArgs({
    args: argv,
    options: {
      target: { type: "string", multiple: true },
      "if-changed": { type: "boolean", default: false },
      release: { type: "boolean", default: false },
    },
  });
  const targets = (values.target ?? [hostTarget()]).map((name) => {
    if (isTarget(name)) return name;
    throw new BuildError(`Cannot build for "${name}": the targets are ${TARGETS.join(", ")}`);
  });
  return { targets, ifChanged: values["if-changed"], release: values.release };
}

if (import.meta.main) {
  try {
    await build(readOptions(process.argv.slice(2)));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  }
}
