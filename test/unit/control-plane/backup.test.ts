// Goal: a backup is whole or not there, a restore is done or not begun, and nothing that was used up, ended or revoked
// after the backup is good again; the fleet goes on by itself and nothing runs twice.
// Method: real Control Planes that serve while they are copied, real agents, backups altered in every way, restores cut at
// every step.

import { afterEach, describe, expect, test } from "bun:test";
import {
  appendFile,
  chmod,
  cp,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { backUp } from "../../../src/control-plane/backup/back-up.ts";
import { tarEnd, tarHeader, tarPadding } from "../../../src/control-plane/backup/tar.ts";
import { dataPaths } from "../../../src/control-plane/data/data-dir.ts";
import { API } from "../../../src/protocol/api.ts";
import { KEYS_API, type KeyList } from "../../../src/protocol/api-keys.ts";
import { ROUTES } from "../../../src/protocol/wire.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { renewTrust } from "../../../src/trust/trust-set.ts";
import { faultOf } from "../../support/fault-of.ts";
import { ABOUT, bringBack, dirOf, into, Places } from "./support/backups.ts";
import { mint, submit, type TestControlPlane } from "./support/control-plane.ts";
import { claimsOf, ScriptedAgent } from "./support/scripted-agent.ts";

const places = new Places();
afterEach(() => places.clean());
const scratch = () => places.scratch();
const start = () => places.start();
const backup = (control: TestControlPlane, name?: string) => places.backup(control, name);

/** Every file below a directory with its digest, modes apart. */
async function contentsOf(root: string): Promise<Record<string, string>> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const pairs = await Promise.all(
    files.map(async (path) => [path.slice(root.length), sha256Of(await readFile(path))]),
  );
  return Object.fromEntries(pairs) as Record<string, string>;
}

describe("a backup", () => {
  test("of a server under load is one instant of it: private, with digests, as directory and as archive", async () => {
    const control = await start();
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    const bytes = Buffer.alloc(300_000, "blob");
    const put = await fetch(`${control.url}${API.blob(sha256Of(bytes))}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${control.adminKey}`, "content-type": "application/octet-stream" },
      body: bytes,
    });
    expect(put.status).toBe(201);
    const id = await submit(control);
    const [envelope = ""] = (await agent.beat()).jobs;
    const job = claimsOf(envelope);
    await agent.beat({ jobs: [{ jti: job.jti, attempt: 1, state: "running" }] });
    await agent.putLog(id, 1, 0, "first line\n");
    let busy = true;
    const load = (async () => {
      while (busy) await submit(control);
    })();
    const made = await Promise.all([backup(control), backup(control, "copy.tar")]);
    busy = false;
    await load;
    for (const { path, manifest, sha256 } of made) {
      const paths = manifest.files.map((file) => file.path);
      for (const name of [
        "control.db",
        "admin.key",
        "keys/root.pem",
        "keys/trust.json",
        "keys/sets/1.json",
      ]) {
        expect(paths).toContain(name);
      }
      expect(paths.some((name) => name.startsWith("blobs/") && name.endsWith(sha256Of(bytes)))).toBeTrue();
      expect(paths.some((name) => name.startsWith("logs/"))).toBeTrue();
      expect(paths.some((name) => name.includes("ledger"))).toBeFalse();
      expect([manifest.era, manifest.missing, manifest.version]).toEqual([1, [], "1.2.3"]);
      expect((await stat(path)).mode & 0o077).toBe(0);
      const target = join(await scratch(), "new");
      const restored = await into(target, path);
      expect(restored.sha256).toBe(sha256);
      const blob = paths.find((name) => name.startsWith("blobs/")) ?? "";
      expect(sha256Of(await readFile(join(target, blob)))).toBe(sha256Of(bytes));
      for (const entry of (await readdir(target, { recursive: true })).filter((name) => name !== "lock")) {
        expect([entry, (await stat(join(target, entry))).mode & 0o077]).toEqual([entry, 0]);
      }
    }
    const tree = await readdir(made[0].path, { recursive: true });
    for (const entry of tree) expect((await stat(join(made[0].path, entry))).mode & 0o077).toBe(0);
  });

  test("is read by tar(1)", async () => {
    const control = await start();
    const { path, manifest } = await backup(control, "copy.tar");
    const tar = Bun.which("tar");
    if (tar === null) throw new Error("this host has no tar");
    const listed = Bun.spawnSync([tar, "-tf", path], { env: {} });
    expect(listed.stdout.toString().trim().split("\n")).toEqual([
      ...manifest.files.map((file) => file.path),
      "manifest.json",
    ]);
  });

  test("overwrites nothing, leaves nothing half-made, and needs a Control Plane", async () => {
    const control = await start();
    const place = await scratch();
    for (const name of ["there", "there.tar"]) {
      await writeFile(join(place, name), "mine");
      const refused = await faultOf(backUp(dataPaths(dirOf(control)), join(place, name), ABOUT));
      expect(refused.code).toBe("OUTPUT_EXISTS");
    }
    const nowhere = await faultOf(backUp(dataPaths(dirOf(control)), join(place, "none/x.tar"), ABOUT));
    expect(nowhere.code).toBe("OUTPUT_UNWRITABLE");
    expect((await faultOf(backUp(dataPaths(place), join(place, "new"), ABOUT))).code).toBe(
      "CONTROL_DATA_DIR",
    );
    await rm(join(dirOf(control), "admin.key"));
    expect((await faultOf(backUp(dataPaths(dirOf(control)), join(place, "new"), ABOUT))).code).toBe(
      "CONTROL_DATA_DIR",
    );
    expect((await readdir(place)).sort()).toEqual(["there", "there.tar"]);
  });

  test("says which files were gone", async () => {
    const control = await start();
    const bytes = Buffer.from("gone");
    await fetch(`${control.url}${API.blob(sha256Of(bytes))}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${control.adminKey}`, "content-type": "application/octet-stream" },
      body: bytes,
    });
    await rm(join(dirOf(control), "blobs"), { recursive: true });
    const { manifest, path } = await backup(control);
    expect(manifest.missing).toHaveLength(1);
    await into(join(await scratch(), "new"), path);
  });
});

describe("a restore", () => {
  test("refuses a backup altered anywhere, and touches nothing", async () => {
    const control = await start();
    const { path } = await backup(control);
    const archive = await backup(control, "copy.tar");
    const whole = await readFile(archive.path);
    const manifest = await readFile(join(path, "manifest.json"), "utf8");
    const alter = async (work: (copy: string) => Promise<unknown>) => {
      const copy = join(await scratch(), "copy");
      await cp(path, copy, { recursive: true });
      await work(copy);
      return copy;
    };
    const tarOf = async (bytes: Uint8Array) => {
      const copy = join(await scratch(), "copy.tar");
      await writeFile(copy, bytes);
      return copy;
    };
    const hostile = (name: string) =>
      Buffer.concat([tarHeader({ path: name, size: 1 }, 0), Buffer.from("x"), tarPadding(1), tarEnd()]);
    const flipped = Buffer.from(whole);
    flipped[whole.length - 20_000] = (flipped[whole.length - 20_000] ?? 0) ^ 1;
    const damaged = [
      await alter((copy) => rm(join(copy, "manifest.json"))),
      await alter((copy) => rm(join(copy, "keys/enrol.pem"))),
      await alter((copy) => appendFile(join(copy, "control.db"), "x")),
      await alter((copy) => writeFile(join(copy, "admin.key"), "adm_other")),
      await alter((copy) => truncate(join(copy, "keys/root.pem"), 5)),
      await alter(async (copy) => {
        await rm(join(copy, "admin.key"));
        await symlink("/etc/passwd", join(copy, "admin.key"));
      }),
      await alter((copy) =>
        writeFile(join(copy, "manifest.json"), manifest.replace("admin.key", "../admin.key")),
      ),
      await alter((copy) => writeFile(join(copy, "manifest.json"), manifest.replace('"v": 1', '"v": 2'))),
      await tarOf(whole.subarray(0, whole.length - 1500)),
      await tarOf(whole.subarray(0, 700)),
      await tarOf(flipped),
      await tarOf(Buffer.from("no archive at all")),
      await tarOf(hostile("../../outside")),
      await tarOf(hostile("/tmp/outside")),
      await tarOf(hostile("keys/../../outside")),
      await tarOf(hostile("ledger.jsonl")),
      join(await scratch(), "none"),
    ];
    const target = join(await scratch(), "target");
    for (const from of damaged) {
      expect([from, (await faultOf(into(target, from))).code]).toEqual([from, "BACKUP_UNUSABLE"]);
      const left = (await readdir(target)).filter((name) => !/^lock|^(blobs|logs)$/.test(name));
      expect(left).toEqual([]);
    }
    expect(await readdir(join(target, "blobs"))).toEqual([]);
    await control.restart(async () => {
      const before = await contentsOf(dirOf(control));
      for (const from of damaged.slice(0, 3)) await faultOf(into(dirOf(control), from, { inPlace: true }));
      expect(await contentsOf(dirOf(control))).toEqual(before);
    });
  });

  test("touches no directory that is served, and none that is not empty unless it is told to", async () => {
    const control = await start();
    const { path } = await backup(control);
    expect((await faultOf(into(dirOf(control), path))).code).toBe("RESTORE_TARGET");
    const locked = await faultOf(into(dirOf(control), path, { inPlace: true }));
    expect(locked.code).toBe("CONTROL_DATA_LOCKED");
    const full = await scratch();
    await chmod(full, 0o700);
    await writeFile(join(full, "mine"), "");
    expect((await faultOf(into(full, path))).code).toBe("RESTORE_TARGET");
    const other = await start();
    await other.restart(async () => {
      expect((await faultOf(into(dirOf(other), path, { inPlace: true }))).message).toContain(
        "another trust root",
      );
    });
    expect((await fetch(`${control.url}/readyz`)).status).toBe(200);
  });

  test("puts aside what was there, and raises the era each time, whoever remembers the last one", async () => {
    const control = await start();
    const made = await backup(control);
    const lost = await submit(control);
    const eras: number[] = [];
    await control.restart(async () => {
      const first = await into(dirOf(control), made.path, { inPlace: true });
      const second = await into(dirOf(control), made.path, { inPlace: true });
      eras.push(made.manifest.era, first.era, second.era);
      expect(first.ledgerFound).toBeTrue();
      expect(await readdir(first.aside ?? "")).toContain("control.db");
    });
    expect(eras.toSorted((a, b) => a - b)).toEqual([...new Set(eras)]);
    expect((await control.api("GET", API.job(lost))).status).toBe(404);
    // Elsewhere, without the ledger: the clock tells two restores of one backup apart.
    const nowMs = Date.now();
    const places = await Promise.all(
      [0, 60_000].map(async (ms) => [join(await scratch(), "new"), nowMs + ms] as const),
    );
    const [here, there] = await Promise.all(places.map(([dir, at]) => into(dir, made.path, { nowMs: at })));
    expect([here?.ledgerFound, (there?.era ?? 0) > (here?.era ?? 0)]).toEqual([false, true]);
  });

  test("cut at any step is not begun or finished at the next start", async () => {
    const control = await start();
    const { path } = await backup(control);
    const lost = await submit(control);
    await control.running().stop();
    const before = await scratch();
    await cp(dirOf(control), join(before, "data"), { recursive: true });
    // What a restore leaves ready, before it is put in place name by name.
    const model = join(before, "model");
    await cp(join(before, "data"), model, { recursive: true });
    await into(model, path, { inPlace: true });
    const names = ["control.db", "keys", "admin.key", "blobs", "logs", "installed"];
    for (let cut = 0; cut <= names.length; cut++) {
      const dir = dirOf(control);
      await rm(dir, { recursive: true });
      await cp(join(before, "data"), dir, { recursive: true });
      await chmod(dir, 0o700);
      const ready = join(dir, "restore.ready");
      await mkdir(ready, { mode: 0o700 });
      await mkdir(join(dir, "before-era-9"), { mode: 0o700 });
      await writeFile(join(ready, "aside"), "before-era-9", { mode: 0o600 });
      for (const [index, name] of names.entries()) {
        await cp(join(model, name), join(ready, name), { recursive: true });
        if (index > cut) continue;
        await rename(join(dir, name), join(dir, "before-era-9", name));
        if (index < cut) await rename(join(ready, name), join(dir, name)); // else cut between the two
      }
      await cp(join(model, "ledger.jsonl"), join(dir, "ledger.jsonl"));
      await control.restart();
      expect((await control.api("GET", API.job(lost))).status).toBe(404);
      expect(await readdir(dir)).not.toContain("restore.ready");
      await control.running().stop();
    }
    // Cut before it was ready: nothing happened, and the next one starts over.
    await rm(dirOf(control), { recursive: true });
    await cp(join(before, "data"), dirOf(control), { recursive: true });
    await chmod(dirOf(control), 0o700);
    await mkdir(join(dirOf(control), "restore.tmp"), { mode: 0o700 });
    await writeFile(join(dirOf(control), "restore.tmp", "control.db"), "half");
    await control.restart();
    expect((await control.api("GET", API.job(lost))).status).toBe(200);
    await control.restart(() => into(dirOf(control), path, { inPlace: true }));
    expect((await control.api("GET", API.job(lost))).status).toBe(404);
  });
});

describe("what ended after the backup", () => {
  test("stays ended: tokens, agents, keys of agents, keys of the server", async () => {
    const control = await start();
    const [spent, revoked, open] = [await mint(control), await mint(control), await mint(control)];
    const ending = await ScriptedAgent.enrol(control.url, await mint(control));
    await ending.beat();
    const made = await backup(control);

    const after = await ScriptedAgent.enrol(control.url, spent);
    await after.beat();
    expect((await control.api("DELETE", API.token(revoked.split("_")[1] ?? ""))).status).toBe(200);
    const end = { order: "terminate", reason: "gone for good" };
    expect((await control.api("POST", API.agentOrders(ending.agentId), end)).status).toBeLessThan(300);
    const keys = (await (await control.api("GET", KEYS_API.keys)).json()) as KeyList;
    const kid = keys.keys.find(({ use, standing }) => use === "job" && standing === "signs")?.kid ?? "";
    await control.api("POST", KEYS_API.revoke, { kid, reason: "stolen" });
    const known = (await (await fetch(`${control.url}${ROUTES.trust}`)).json()) as never;

    await bringBack(control, made);
    for (const [token, code] of [
      [spent, "TOKEN_REVOKED"],
      [revoked, "TOKEN_REVOKED"],
    ] as const) {
      const again = await ScriptedAgent.withKeys(control.url, token);
      expect((await again.activate(token)).text).toContain(code);
    }
    // The key that redeemed it gets no second agent out of it either.
    expect((await after.activate(spent)).text).toContain("TOKEN_REVOKED");
    expect((await ScriptedAgent.enrol(control.url, open)).agentId).not.toBe("");
    const answer = await ending.sendBeat(ending.beatRequest());
    expect(answer.text).toContain('"standing"');
    expect(claimsOf<{ order: { type: string } }>(answer.json.orders[0] ?? "").order.type).toBe("terminal");
    const set = await renewTrust(ending.trust, known, Date.now() / 1000);
    const now = (await (await fetch(`${control.url}${ROUTES.trust}`)).json()) as never;
    const next = await renewTrust(set, now, Date.now() / 1000);
    expect([next.claims.seq > set.claims.seq, next.keyFor("job", kid, Date.now() / 1000)]).toEqual([
      true,
      null,
    ]);
  });

  test("is good again without the ledger, and not with one that was saved", async () => {
    const control = await start();
    const token = await mint(control);
    const { path } = await backup(control);
    await ScriptedAgent.enrol(control.url, token);
    const saved = join(await scratch(), "ledger.jsonl");
    await cp(dataPaths(dirOf(control)).ledger, saved);
    await chmod(saved, 0o600);
    const without = await into(join(await scratch(), "a"), path);
    const with_ = await into(join(await scratch(), "b"), path, { ledger: saved });
    expect([without.replayed.tokens, without.ledgerFound]).toEqual([0, false]);
    expect([with_.replayed.tokens, with_.ledgerFound]).toEqual([1, true]);
    const target = join(await scratch(), "c");
    await into(target, path, { ledger: saved });
    const again = await into(target, path, { inPlace: true });
    expect(again.replayed.tokens).toBe(1);
    const refusal = async (ledger: string) =>
      (await faultOf(into(target, path, { inPlace: true, ledger }))).code;
    expect(await refusal(join(target, "none"))).toBe("LEDGER_DAMAGED");
    const other = await start();
    await ScriptedAgent.enrol(other.url, await mint(other));
    expect(await refusal(dataPaths(dirOf(other)).ledger)).toBe("RESTORE_TARGET");
  });
});
