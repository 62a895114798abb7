// Goal: a running binary knows whether it is what somebody signed: genuine, unsigned, or tampered with.
// Method: files that stand for the running executable, reached through a link as /proc/self/exe is, beside real bundles.

import { afterEach, expect, test } from "bun:test";
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { chmod, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { signFile } from "../../../dist-scripts/sign.ts";
import { isFault } from "../../../src/fault/fault.ts";
import { checkOwnBundle, type SelfCheckInput } from "../../../src/release/self-check.ts";

const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
const pem = createPublicKey(key).export({ type: "spki", format: "pem" }).toString();
const made: string[] = [];

afterEach(async () => {
  for (const place of made.splice(0)) await rm(place, { recursive: true, force: true });
});

async function install(content = "program") {
  const place = await mkdtemp(join(tmpdir(), "agentina-self-"));
  made.push(place);
  const binary = join(place, "agentina");
  await writeFile(binary, content);
  await symlink(binary, join(place, "exe"));
  const bundle = join(place, "agentina.sigstore.json");
  const sign = async () => await writeFile(bundle, JSON.stringify(await signFile(binary, key)));
  return { place, binary, bundle, sign, exe: join(place, "exe") };
}

async function checked(exe: string, over: Partial<SelfCheckInput> = {}): Promise<string> {
  try {
    const { verdict, why } = await checkOwnBundle({ compiled: true, devKeyPem: pem, exe, ...over });
    return why === null ? verdict : `${verdict}: ${why}`;
  } catch (error) {
    return isFault(error) ? `${error.code}: ${error.params["why"]}` : String(error);
  }
}

test("signed by the checkout's key it is a development build, by a release key it is verified", async () => {
  const { exe, sign } = await install();
  await sign();
  expect(await checked(exe)).toBe("development");
  expect(await checked(exe, { devKeyPem: null, releaseKeys: [pem] })).toBe("verified");
});

test("without a bundle, or run from sources, it is unverified and says why", async () => {
  const { exe, place } = await install();
  expect(await checked(exe)).toBe('unverified: there is no "agentina.sigstore.json" beside it');
  expect(await checked(exe, { compiled: false })).toBe("unverified: it runs from sources");
  expect(await checked(join(place, "nowhere"))).toStartWith("unverified");
});

test("a bundle that is there and does not fit is tampering, never a missing bundle", async () => {
  const { exe, binary, bundle, sign } = await install();
  await sign();
  await writeFile(binary, "another program");
  expect(await checked(exe)).toMatch(
    /^RELEASE_TAMPERED: .*agentina\.sigstore\.json": signature verification failed$/,
  );
  await writeFile(bundle, "{}");
  expect(await checked(exe)).toStartWith("RELEASE_TAMPERED");
  await writeFile(bundle, "");
  expect(await checked(exe)).toStartWith("RELEASE_TAMPERED");
  await writeFile(bundle, " ".repeat(100_000));
  expect(await checked(exe)).toContain("larger than");
});

test("a development signature counts for nothing in a build that pins no development key", async () => {
  const { exe, sign } = await install();
  await sign();
  expect(await checked(exe, { devKeyPem: null })).toContain("a key this build does not trust");
});

test("a FIFO or a directory where the bundle belongs holds nothing up", async () => {
  const fifo = await install();
  expect(Bun.spawnSync({ cmd: ["/usr/bin/mkfifo", fifo.bundle], env: {} }).exitCode).toBe(0);
  expect(await checked(fifo.exe)).toMatch(/^(unverified|RELEASE_TAMPERED)/);
  const directory = await install();
  await Bun.write(join(directory.bundle, "x"), "");
  expect(await checked(directory.exe)).toMatch(/^(unverified|RELEASE_TAMPERED)/);
});

test("what is hashed is the running file, not what lies at its path now", async () => {
  const { place, binary, sign } = await install("#!/bin/sh\nexec /bin/sleep 5\n");
  // A real process, whose /proc/<pid>/exe leads to the inode it was started from.
  await Bun.write(binary, Bun.file("/bin/sleep"));
  await chmod(binary, 0o755);
  await sign();
  const child = Bun.spawn({
    cmd: [binary, "10"],
    env: {},
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
  });
  try {
    const exe = `/proc/${child.pid}/exe`;
    await writeFile(join(place, "other"), "swapped in");
    await rename(join(place, "other"), binary);
    expect(await checked(exe)).toBe("development");
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
});
