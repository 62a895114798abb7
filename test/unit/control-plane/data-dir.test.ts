// Goal: a data directory is nobody else's, served once, and its keys are made whole, kept and never replaced unasked.
// Method: real directories in every wrong state; the rotation plan as a pure function over years.

import { afterEach, describe, expect, test } from "bun:test";
import {
  chmod,
  chown,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { planRotation, signingWindow } from "../../../src/control-plane/keys/rotation.ts";
import { type RunningControlPlane, startControlPlane } from "../../../src/control-plane/serve/start.ts";
import { isFault } from "../../../src/fault/fault.ts";
import type { TrustDocument } from "../../../src/protocol/trust.ts";
import { KEY_USES } from "../../../src/protocol/trust.ts";
import { openTrust } from "../../../src/trust/trust-set.ts";
import { random } from "./support/control-plane.ts";

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function freshPath(): Promise<string> {
  const parent = await mkdtemp(join(tmpdir(), "agentina-data-"));
  cleanups.push(() => rm(parent, { recursive: true, force: true }));
  return join(parent, "control");
}

async function start(dataDir: string, nowMs = Date.now): Promise<RunningControlPlane> {
  const running = await startControlPlane({
    dataDir,
    listen: { host: "127.0.0.1", port: 0 },
    publicUrl: null,
    intervalS: 60,
    maxWakes: 1,
    log: () => undefined,
    nowMs,
    random,
  });
  cleanups.push(() => running.stop());
  return running;
}

/** The fault a start ends with: its code and sentence. */
async function refusal(dataDir: string): Promise<string> {
  try {
    await start(dataDir);
    return "started";
  } catch (error) {
    return isFault(error) ? `${error.code} ${error.message}` : String(error);
  }
}

const trustOf = async ({ url }: RunningControlPlane) =>
  (await (await fetch(`${url}/.well-known/agentina`)).json()) as TrustDocument;

describe("a data directory", () => {
  test("is made private, with private keys, and opens again as the same Control Plane", async () => {
    const path = await freshPath();
    const first = await start(path);
    const trust = await trustOf(first);
    const names = await readdir(path, { recursive: true });
    for (const name of names.filter((entry) => /\.(pem|key|json)$|\/keys$|^keys$/.test(entry))) {
      expect([name, (await stat(join(path, name))).mode & 0o077]).toEqual([name, 0]);
    }
    expect((await stat(path)).mode & 0o7777).toBe(0o700);
    await first.stop();
    expect(await readdir(path)).not.toContain("serve.json");
    const second = await start(path);
    expect(await trustOf(second)).toEqual(trust);
    expect(second.accountId).toBe(first.accountId);
  });

  test("is served once at a time; whoever comes second is told by whom", async () => {
    const path = await freshPath();
    const first = await start(path);
    expect(await refusal(path)).toContain(`CONTROL_DATA_LOCKED`);
    expect(await refusal(path)).toContain(`pid ${process.pid}`);
    await first.stop();
    expect(await refusal(path)).toBe("started");
  });

  test("that others may enter, that is a link, a file, or another user's is refused", async () => {
    const open = await freshPath();
    await mkdir(open);
    await chmod(open, 0o755); // whatever the umask another test left
    expect(await refusal(open)).toContain("its mode is 0755");
    const link = await freshPath();
    await mkdir(`${link}-real`, { mode: 0o700 });
    await symlink(`${link}-real`, link);
    expect(await refusal(link)).toContain("CONTROL_DATA_DIR");
    const file = await freshPath();
    await writeFile(file, "");
    expect(await refusal(file)).toContain("CONTROL_DATA_DIR");
    if (process.getuid?.() !== 0) return; // only root can make a directory somebody else's
    const foreign = await freshPath();
    await mkdir(foreign, { mode: 0o700 });
    await chown(foreign, 12_345, 12_345);
    expect(await refusal(foreign)).toContain("it belongs to uid 12345");
  });

  test("without its keys, with damaged, foreign or open ones, is refused and left as it is", async () => {
    const path = await freshPath();
    await (await start(path)).stop();
    const keys = join(path, "keys");
    const entries = await readdir(keys, { withFileTypes: true });
    const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
    for (const name of [...names, "../admin.key"]) {
      const file = join(keys, name);
      const text = await Bun.file(file).text();
      await chmod(file, 0o644);
      expect(await refusal(path)).toContain("lets others in");
      await chmod(file, 0o600);
      await writeFile(file, "damaged");
      expect(await refusal(path)).toContain("CONTROL_KEY_UNUSABLE");
      await writeFile(file, text);
    }
    await rename(keys, `${keys}.aside`);
    expect(await refusal(path)).toContain("it is missing beside its database");
    const other = await freshPath();
    await (await start(other)).stop();
    await rename(join(other, "keys"), keys);
    expect(await refusal(path)).toContain("CONTROL_KEY_UNUSABLE");
    await rename(keys, join(other, "keys"));
    await rename(`${keys}.aside`, keys);
    expect(await refusal(path)).toBe("started");
  });

  test("that lost its database or its admin key is refused, makes nothing anew, and starts again with them", async () => {
    const path = await freshPath();
    await (await start(path)).stop();
    for (const [name, code] of [
      ["control.db", "CONTROL_DATABASE"],
      ["admin.key", "CONTROL_KEY_UNUSABLE"],
    ] as const) {
      const file = join(path, name);
      await rename(file, `${file}.aside`);
      expect(await refusal(path)).toContain(code);
      expect(await Bun.file(file).exists()).toBe(false);
      await rename(`${file}.aside`, file);
    }
    const database = join(path, "control.db");
    await copyFile(database, `${database}.aside`);
    await writeFile(database, "");
    expect(await refusal(path)).toContain("CONTROL_DATABASE");
    await rename(`${database}.aside`, database);
    expect(await refusal(path)).toBe("started");
  });

  test("that was off for a year has a good key set again at its next start, under the same root", async () => {
    const path = await freshPath();
    const first = await start(path);
    const before = await trustOf(first);
    await first.stop();
    const later = Date.now() + 365 * 86_400_000;
    const after = await trustOf(await start(path, () => later));
    expect(after.root).toEqual(before.root);
    const trust = await openTrust(after, later / 1000);
    expect(trust.claims.seq).toBeGreaterThan((await openTrust(before, 0)).claims.seq);
  });

  test("needs a public URL when it listens to more than loopback", async () => {
    const options = { dataDir: await freshPath(), listen: { host: "0.0.0.0", port: 0 }, publicUrl: null };
    const rest = { intervalS: 60, maxWakes: 1, log: () => undefined, nowMs: Date.now, random };
    await expect(startControlPlane({ ...options, ...rest })).rejects.toMatchObject({
      code: "CONTROL_LISTEN",
    });
  });
});

describe("keys", () => {
  test("of each use always sign, with windows of at most 30 days for jobs and orders, known a week before", () => {
    const day = 86_400;
    let keys: ReturnType<typeof planRotation>["keep"] = [];
    let exp = 0;
    const knownSince = new Map<string, number>();
    for (let now = 0; now < 400 * day; now += day / 4) {
      const plan = planRotation({ keys: [...keys], exp }, now);
      if (plan.due) {
        const made = plan.make.map(({ use, nbf, exp: end }) => {
          if (use !== "license") expect(end - nbf).toBeLessThanOrEqual(30 * day);
          const kid = `${use}-key-${now}`;
          knownSince.set(kid, now);
          return { use, kid, nbf, exp: end, jwk: { kty: "OKP", crv: "Ed25519", x: "x".repeat(43) } as const };
        });
        keys = [...plan.keep, ...made];
        exp = now + 90 * day;
      }
      expect(exp - now).toBeGreaterThanOrEqual(45 * day);
      for (const use of KEY_USES) {
        const signing = signingWindow(keys, use, now);
        expect(signing).not.toBeNull();
        const age = now - (knownSince.get(signing?.kid ?? "") ?? now);
        const first = (knownSince.get(signing?.kid ?? "") ?? 0) === 0;
        expect(first || age >= 7 * day).toBeTrue();
      }
      expect(keys.length).toBeLessThanOrEqual(8);
    }
  });

  test("that were revoked do not sign, and are replaced", () => {
    const jwk = { kty: "OKP", crv: "Ed25519", x: "x".repeat(43) } as const;
    const key = { use: "job", kid: "job-key-1", jwk, nbf: 0, exp: 1_000_000, revoked_at: 10 } as const;
    expect(signingWindow([key], "job", 9)).toEqual(key);
    expect(signingWindow([key], "job", 10)).toBeNull();
    expect(planRotation({ keys: [key], exp: 9e9 }, 10).make.map(({ use }) => use)).toContain("job");
  });
});
