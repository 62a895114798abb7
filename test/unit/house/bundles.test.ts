// Goal: each binary carries only what is its own: no Control Plane code, and so none of its signing, in the
// agent; nothing that runs jobs in the Control Plane.
// Method: bundle both programs by the build's own recipe and read which files took part.

import { describe, expect, test } from "bun:test";
import { AGENT, CONTROL, type Program, programInputs } from "../../../dist-scripts/programs.ts";
import { ROOT } from "../../support/source-files.ts";

const CONSTANTS = {
  version: "0.0.0",
  commit: "unknown",
  date: "unknown",
  target: "linux-x64",
  devKeyPem: "",
};

describe("what a binary is made of", () => {
  test("the agent holds nothing of the Control Plane", async () => {
    expect(await inputsUnder(AGENT, ["src/control-plane/", "src/control.ts"])).toEqual([]);
    expect(await inputsUnder(AGENT, ["src/main.ts", "workers/executor.ts"])).toHaveLength(2);
  });

  test("the Control Plane holds nothing of the agent", async () => {
    const agentOnly = ["src/main.ts", "src/agent/", "src/sandbox/", "src/host/", "workers/"];
    expect(await inputsUnder(CONTROL, [...agentOnly, "node_modules/piscina/"])).toEqual([]);
    expect(await inputsUnder(CONTROL, ["src/control.ts"])).toHaveLength(1);
  });

  test("neither holds tests or build scripts", async () => {
    for (const program of [AGENT, CONTROL])
      expect(await inputsUnder(program, ["test/", "dist-scripts/"])).toEqual([]);
  });
});

async function inputsUnder(program: Program, prefixes: readonly string[]): Promise<string[]> {
  const inputs = await programInputs(program, { root: ROOT, constants: CONSTANTS });
  return inputs.filter((path) => prefixes.some((prefix) => path.startsWith(prefix)));
}
