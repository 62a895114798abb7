// A process of its own that makes the checks of one start of the agent, or only what they cannot do without, and prints
// what that cost: for the bench, and for the test that no process is started. Arguments: "checks" or "bare", state
// directory.

import { createHash, createPrivateKey, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadForBoot } from "../../../src/agent/identity.ts";
import { Journal } from "../../../src/agent/journal.ts";
import { statePaths } from "../../../src/agent/state-files.ts";
import { makeFingerprint } from "../../../src/host/fingerprint.ts";
import { readIdentityFacts } from "../../../src/host/identity-facts.ts";
import type { Ed25519Jwk } from "../../../src/protocol/scalars.ts";
import { compareFingerprints } from "../../../src/trust/fingerprint-match.ts";
import { SEALED_NAMES } from "../../../src/trust/seal.ts";

export interface BootCost {
  readonly cpu_ms: number;
  readonly result: string;
  /** Page faults of all processes this one has started and waited for (proc_pid_stat(5), fields 11 and 13). */
  readonly children_faults: number;
}

const [, , mode = "", dir = ""] = process.argv;

/** Journal, seal, keys, trust, license, fingerprint: everything between the lock and the first heartbeat. */
async function checks(): Promise<string> {
  const journal = Journal.open(statePaths(dir).journal);
  const boot = await loadForBoot(dir, journal, Math.floor(Date.now() / 1000));
  journal.close();
  if (boot.standing !== "sound")
    return boot.verdict.findings.map(({ code, name }) => `${code} ${name}`).join();
  const { raw, unknown } = readIdentityFacts();
  const { trust, license } = boot.identity;
  const current = makeFingerprint(raw, trust.claims.fp_salt);
  return compareFingerprints(license.claims.fp, current, unknown).verdict;
}

/** Every file read and hashed once, and the three signatures verified, with nothing around it. */
function bare(): string {
  const files = new Map(
    SEALED_NAMES.filter((name) => !/quarantine|terminal/.test(name)).map((name) => [
      name as string,
      readFileSync(join(dir, name)),
    ]),
  );
  for (const bytes of files.values()) createHash("sha256").update(bytes).digest("hex");
  const { root, trust } = JSON.parse(String(files.get("trust.json"))) as { root: Ed25519Jwk; trust: string };
  const keys = JSON.parse(Buffer.from(trust.split(".")[1] ?? "", "base64url").toString()) as {
    keys: { use: string; jwk: Ed25519Jwk }[];
  };
  const license = keys.keys.find(({ use }) => use === "license")?.jwk;
  if (license === undefined) throw new Error("no license key");
  const own = createPublicKey(createPrivateKey(String(files.get("keypair/identity.pem"))));
  const jwk = (key: Ed25519Jwk) => createPublicKey({ key: { ...key }, format: "jwk" });
  const signed = [
    [readFileSync(statePaths(dir).seal, "latin1"), own],
    [trust, jwk(root)],
    [String(files.get("license.jwt")), jwk(license)],
  ] as const;
  const good = signed.every(([text, key]) => {
    const parts = text.trim().split(".");
    const signature = Buffer.from(parts[2] ?? "", "base64url");
    return verify(null, Buffer.from(parts.slice(0, 2).join(".")), key, signature);
  });
  return good ? "verified" : "bad";
}

function childrenFaults(): number {
  const fields = readFileSync("/proc/self/stat", "latin1")
    .replace(/^.*\) /s, "")
    .split(" ");
  return Number(fields[8]) + Number(fields[10]);
}

const before = process.cpuUsage();
const result = mode === "checks" ? await checks() : bare();
const { user, system } = process.cpuUsage(before);
const cost: BootCost = {
  cpu_ms: (user + system) / 1000,
  result,
  children_faults: childrenFaults(),
};
console.log(JSON.stringify(cost));
