// Loaded before any program is: puts what programs import from the runtime into the hands of the simulated world. The
// shipped source is what runs; only where it says `node:fs` and the like, it is given the double of that.

import { join } from "node:path";
import { plugin } from "bun";
import { takeOverRuntime } from "./doubles/globals.ts";

type Names = Record<string, unknown>;

/** Names of a module that has no place in a simulated world but by its doubles. */
const refused = (module: string, names: Names): Names =>
  Object.fromEntries(
    Object.keys(names).map((name) => [
      name,
      () => {
        throw new Error(`${module} has no double of ${name}: it would end whenever it likes`);
      },
    ]),
  );

/** What a module is in a simulated world: the real one, with some of its names replaced. */
const DOUBLES: Readonly<Record<string, () => Promise<Names>>> = {
  "bun:sqlite": async () => ({ ...(await import("bun:sqlite")), ...(await import("./doubles/sqlite.ts")) }),
  "node:crypto": async () => ({ ...(await import("node:crypto")), ...(await import("./doubles/crypto.ts")) }),
  "node:fs": async () => ({ ...(await import("node:fs")), ...(await import("./doubles/fs.ts")) }),
  "node:fs/promises": async () => ({
    ...refused("node:fs/promises", await import("node:fs/promises")),
    ...(await import("./doubles/fs-promises.ts")),
  }),
  "node:worker_threads": async () => ({
    ...(await import("node:worker_threads")),
    ...(await import("./doubles/worker-threads.ts")),
  }),
  // The one place where jobs are verified is watched.
  "../trust/job.ts": async () => ({
    ...(await import("../../src/trust/job.ts")),
    ...(await import("./doubles/verify-job.ts")),
  }),
};

const SOURCES = join(import.meta.dir, "..", "..", "src");

const doubleOf = (name: string): string => `simulated:${name.replace(/[^a-z]+/g, "-")}`;

plugin({
  name: "simulated world",
  setup(build) {
    for (const [name, exports] of Object.entries(DOUBLES)) {
      build.module(doubleOf(name), async () => ({ exports: await exports(), loader: "object" }));
    }
    build.onLoad({ filter: /\/src\/.*\.ts$/ }, async ({ path }) => {
      const text = await Bun.file(path).text();
      return { contents: path.startsWith(`${SOURCES}/`) ? withDoubles(text) : text, loader: "ts" };
    });
  },
});

const withDoubles = (text: string): string =>
  text.replace(/(\bfrom\s+)"([^"]+)"/g, (whole, from: string, name: string) =>
    Object.hasOwn(DOUBLES, name) ? `${from}"${doubleOf(name)}"` : whole,
  );

takeOverRuntime();
