// What one start of the agent computes before its first heartbeat: seal over the state files, journal head, keys, key set,
// license, fingerprint. In a compiled program that has just begun, as it is at every start: nothing is warm.
// The floor of the same run: the same files read and hashed once and the three signatures verified, nothing else.
// Bound: median of the checks at most 20 ms of CPU time.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileProgram } from "../../dist-scripts/programs.ts";
import { Journal } from "../../src/agent/journal.ts";
import { statePaths } from "../../src/agent/state-files.ts";
import { TYP } from "../../src/protocol/trust.ts";
import { makeSigningKey } from "../../src/trust/keys.ts";
import { signJws } from "../../src/trust/sign-jws.ts";
import { sha256Of } from "../../src/trust/strict-jws.ts";
import { ROOT } from "../support/source-files.ts";
import { ActivationDesk } from "../unit/agent/activation-desk.ts";
import type { BootCost } from "../unit/agent/boot-child.ts";

const BOUND_MS = 20;
const ROUNDS = 30;
const RECEIPTS = 40;
const RECEIPT_BYTES = 8_192;

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

/** An agent with a life behind it: a full beat of receipts that wait for their acknowledgement. */
async function stateDirectory(dir: string): Promise<void> {
  using desk = await ActivationDesk.open(Date.now());
  await desk.activate(dir);
  const { key } = await makeSigningKey();
  const journal = Journal.open(statePaths(dir).journal);
  for (let seq = 1; seq <= RECEIPTS; seq++) {
    const claims = { seq, prev_sha256: journal.receiptHead().sha256, filler: "x".repeat(RECEIPT_BYTES) };
    const jws = await signJws(TYP.receipt, key, claims);
    const end = { outcome: "succeeded", reason: "done", atMs: 1, logSize: null } as const;
    journal.finish({ jti: `job_${seq}` as never, attempt: 1 }, end, { seq, sha256: sha256Of(jws), jws });
  }
  journal.close();
}

function once(program: string, mode: "checks" | "bare", dir: string): BootCost {
  const child = Bun.spawnSync({ cmd: [program, mode, dir], env: {}, stdout: "pipe", stderr: "inherit" });
  if (child.exitCode !== 0) throw new Error(`${mode} failed`);
  return JSON.parse(child.stdout.toString()) as BootCost;
}

const scratch = mkdtempSync(join(tmpdir(), "agentina-bench-"));
try {
  const program = join(scratch, "boot-child");
  const constants = {
    version: "0.0.0",
    commit: "unknown",
    date: "unknown",
    target: "unknown",
    devKeyPem: "",
  };
  const recipe = { name: "boot-child", entries: ["test/unit/agent/boot-child.ts"], piscinaPaths: 0 } as const;
  await compileProgram(recipe, { root: ROOT, constants }, program);
  const dir = join(scratch, "state");
  await stateDirectory(dir);
  const costs = { checks: [] as number[], bare: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    const [checks, bare] = [once(program, "checks", dir), once(program, "bare", dir)];
    if (!/^(match|drift|mismatch)$/.test(checks.result) || bare.result !== "verified") {
      throw new Error(`${checks.result}, ${bare.result}`);
    }
    costs.checks.push(checks.cpu_ms);
    costs.bare.push(bare.cpu_ms);
  }
  const [checks, bare] = [median(costs.checks), median(costs.bare)];
  console.log(`bare reads, digests, signatures  ${bare.toFixed(1)} ms CPU (median of ${ROUNDS})`);
  console.log(
    `checks of a start                ${checks.toFixed(1)} ms CPU, worst ${Math.max(...costs.checks).toFixed(1)} ms`,
  );
  console.log(`checks / bare                    ${(checks / bare).toFixed(2)}`);
  console.log(`checks / bound                   ${(checks / BOUND_MS).toFixed(2)} (bound ${BOUND_MS} ms)`);
  process.exitCode = checks <= BOUND_MS ? 0 : 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
