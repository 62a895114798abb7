// The two programs as data, and the one recipe that bundles and compiles them.

import { join } from "node:path";
import type { BunPlugin } from "bun";

/** One compiled program: its entry files relative to the project directory, the first of them started. */
export interface Program {
  readonly name: string;
  readonly entries: readonly string[];
  /** piscina carries a path that has to be mended; how often it must be found in this program. */
  readonly piscinaPaths: 0 | 1;
}

export const AGENT: Program = {
  name: "agentina",
  entries: ["src/main.ts", "workers/executor.ts", "workers/piscina-entry.ts"],
  piscinaPaths: 1,
};

export const CONTROL: Program = {
  name: "agentina-control",
  entries: ["src/control.ts"],
  piscinaPaths: 0,
};

export const PROGRAMS = [AGENT, CONTROL] as const;

/** What a binary knows about itself; each becomes a constant in the code. */
export interface BuildConstants {
  readonly version: string;
  /** Full commit hash, `-dirty` appended when tracked sources differ from it; `unknown` without git. */
  readonly commit: string;
  /** ISO 8601 in UTC, or `unknown`; never the clock, so that the same sources give the same bytes. */
  readonly date: string;
  readonly target: string;
  /** SPKI PEM of the checkout's development key; empty when none is pinned. */
  readonly devKeyPem: string;
}

/** Where code goes and what it is built from: the project directory, normally this repository. */
export interface Project {
  readonly root: string;
  readonly constants: BuildConstants;
}

/**
 * Flags the compiled runtime always starts with: no code from strings (which also ends it when BUN_OPTIONS
 * or bunfig.toml name code to preload, and forbids the inspector), no native addons, no C compiler.
 */
const RUNTIME_FLAGS = [
  "--disallow-code-generation-from-strings=strict",
  "--no-addons",
  "--no-ffi-cc",
] as const;

/** Why a program could not be built, in the bundler's own words. */
export class BuildError extends Error {
  override readonly name = "BuildError";
}

/**
 * Compiles `program` to `outfile`. The bytes depend on the sources, the constants and the base name of
 * `outfile` only. `executablePath` is the runtime to build upon; left out, it is the one running this.
 */
export async function compileProgram(
  program: Program,
  project: Project,
  outfile: string,
  executablePath?: string,
): Promise<void> {
  await bundle(program, project, {
    minify: true,
    bytecode: true,
    splitting: true,
    sourcemap: "none",
    compile: {
      outfile,
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadTsconfig: false,
      autoloadPackageJson: false,
      execArgv: [...RUNTIME_FLAGS],
      ...(executablePath === undefined ? {} : { executablePath }),
    },
  });
}

/** Every file that takes part in `program`, relative to the project directory, in alphabetical order. */
export async function programInputs(program: Program, project: Project): Promise<string[]> {
  const output = await bundle(program, project, { splitting: true, metafile: true });
  return Object.keys(output.metafile?.inputs ?? {}).sort();
}

type RecipeOptions = Partial<Parameters<typeof Bun.build>[0]>;

async function bundle(program: Program, { root, constants }: Project, options: RecipeOptions) {
  const piscina = mendPiscinaWorkerPath();
  const output = await Bun.build({
    entrypoints: program.entries.map((entry) => join(root, entry)),
    root,
    target: "bun",
    format: "esm",
    define: defines(constants),
    plugins: [piscina.plugin, withoutNiceAddon],
    throw: false,
    ...options,
  });
  if (!output.success) {
    const reasons = output.logs.map((log) => `  ${log}`).join("\n");
    throw new BuildError(`Cannot build ${program.name}:\n${reasons}`);
  }
  if (piscina.found() !== program.piscinaPaths) {
    throw new BuildError(
      `Cannot build ${program.name}: piscina's worker path was found ${piscina.found()} times, ` +
        `expected ${program.piscinaPaths}`,
    );
  }
  return output;
}

function defines(constants: BuildConstants): Record<string, string> {
  return {
    __AGENTINA_VERSION__: JSON.stringify(constants.version),
    __AGENTINA_COMMIT__: JSON.stringify(constants.commit),
    __AGENTINA_DATE__: JSON.stringify(constants.date),
    __AGENTINA_TARGET__: JSON.stringify(constants.target),
    __AGENTINA_DEV_KEY_PEM__: JSON.stringify(constants.devKeyPem),
  };
}

const PISCINA_WORKER_PATH = "(0, node_path_1.resolve)(__dirname, 'worker.js')";
const EMBEDDED_WORKER_PATH = '"/$bunfs/root/workers/piscina-entry.js"';

/**
 * piscina resolves its worker beside itself when bundled: that bakes the build machine's path into the
 * binary, which elsewhere hangs, or loads whatever lies there. It is pointed at the embedded entry.
 */
function mendPiscinaWorkerPath(): { plugin: BunPlugin; found: () => number } {
  let found = 0;
  const plugin: BunPlugin = {
    name: "piscina-worker-path",
    setup(build) {
      build.onLoad({ filter: /[\\/]piscina[\\/]dist[\\/]index\.js$/ }, async ({ path }) => {
        const parts = (await Bun.file(path).text()).split(PISCINA_WORKER_PATH);
        found += parts.length - 1;
        return { contents: parts.join(EMBEDDED_WORKER_PATH), loader: "js" };
      });
    },
  };
  return { plugin, found: () => found };
}

/** piscina's optional native addon for `niceIncrement`: not used, and it would tie a build to its host. */
const withoutNiceAddon: BunPlugin = {
  name: "without-nice-addon",
  setup(build) {
    build.onResolve({ filter: /^@napi-rs\/nice$/ }, () => ({ path: "nice", namespace: "left-out" }));
    build.onLoad({ filter: /.*/, namespace: "left-out" }, () => ({
      contents: "module.exports = {};",
      loader: "js",
    }));
  },
};
