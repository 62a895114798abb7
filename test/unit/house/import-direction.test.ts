// Goal: code depends only in the direction the floor plan gives, so that a job can never reach a key and the
// agent never carries the Control Plane.
// Method: read every import line of src and workers and hold it against a table.

import { describe, expect, test } from "bun:test";
import { dirname, join } from "node:path";
import { type SourceFile, sourceFiles } from "../../support/source-files.ts";

/** The rooms each room may import from beside itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  fault: [],
  terminal: ["fault"],
  protocol: ["fault"],
  trust: ["fault", "protocol"],
  host: ["fault", "protocol"],
  scope: ["fault", "protocol"],
  // Workers reach whatever sandbox reaches: no key, no trust.
  sandbox: ["fault", "protocol", "scope"],
  release: ["fault", "protocol", "trust", "host", "scope"],
  agent: ["fault", "protocol", "trust", "host", "scope", "sandbox", "release"],
  cli: ["fault", "protocol", "terminal", "trust", "host", "scope", "sandbox", "release", "agent"],
  main: ["fault", "protocol", "terminal", "trust", "host", "scope", "sandbox", "release", "agent", "cli"],
  workers: ["fault", "protocol", "scope", "sandbox"],
  "control-plane": ["fault", "protocol", "terminal", "trust", "scope"],
  control: ["fault", "protocol", "terminal", "trust", "scope", "control-plane"],
};

describe("imports", () => {
  test("of src and workers go only where the table lets them", async () => {
    const files = await sourceFiles(["{src,workers}/**/*.{ts,tsx}"]);
    expect(files.flatMap(wrongImports)).toEqual([]);
  });

  test.each([
    ["src/protocol/job.ts", 'import { x } from "../trust/jws.ts";'],
    ["src/agent/loop.ts", 'import type { X } from "../cli/status.ts";'],
    ["src/agent/loop.ts", 'const { x } = await import("../control-plane/store/db.ts");'],
    ["src/control-plane/api/app.ts", 'export { x } from "../../release/install.ts";'],
    ["src/cli/run.ts", 'import { x } from "../../workers/executor.ts";'],
    ["workers/kinds/test-run.ts", 'import "../../src/trust/license.ts";'],
    ["src/scope/decide.ts", 'import { x } from "../../dist-scripts/build.ts";'],
    ["src/attic/old.ts", 'import { x } from "node:fs";'],
  ])("a wrong one in %s is noticed", (path, text) => {
    expect(wrongImports({ path, text })).toHaveLength(1);
  });

  test("a right one is let through", () => {
    const text = 'import { x } from "../../src/sandbox/view.ts";\nimport { y } from "../steps/checkout.ts";';
    expect(wrongImports({ path: "workers/kinds/test-run.ts", text })).toEqual([]);
  });
});

/** Each import of `file` that the table does not allow, as `importer -> imported`. */
function wrongImports(file: SourceFile): string[] {
  const allowed = MAY_IMPORT[roomOf(file.path)];
  if (allowed === undefined) return [`${file.path} -> its room is not in the table`];
  return relativeImports(file)
    .filter((target) => !isAllowed(target, roomOf(file.path), allowed))
    .map((target) => `${file.path} -> ${target}`);
}

function isAllowed(target: string, ownRoom: string, allowed: readonly string[]): boolean {
  // A start-up file of a package that its exports do not name; the build points piscina to it.
  if (target === "node_modules/piscina/dist/worker.js") return ownRoom === "workers";
  if (!/^(src|workers)\//.test(target)) return false;
  const room = roomOf(target);
  return room === ownRoom || allowed.includes(room);
}

/** Room of a path: the directory under src, `workers`, or the name of a file directly in src. */
function roomOf(path: string): string {
  const [top, second = ""] = path.split("/");
  return top === "workers" ? "workers" : second.replace(/\.tsx?$/, "");
}

function relativeImports({ path, text }: SourceFile): string[] {
  const specifiers = text.matchAll(/\b(?:from|import|require)\s*\(?\s*["'](\.[^"']*)["']/g);
  return [...specifiers].map(([, specifier = ""]) => join(dirname(path), specifier));
}
