// Goal: keys are changed while the fleet beats, from the command line, and no agent is ever left with a license or a reply
// it cannot believe; a root kept elsewhere signs what it is shown.
// Method: real servers, agents that verify every reply, the program run in this process.

import { afterEach, describe, expect, test } from "bun:test";
import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type RunningControlPlane, startControlPlane } from "../../../src/control-plane/serve/start.ts";
import type { KeyList } from "../../../src/protocol/api-keys.ts";
import type { TrustDocument } from "../../../src/protocol/trust.ts";
import { ROUTES } from "../../../src/protocol/wire.ts";
import { openLicense } from "../../../src/trust/license.ts";
import { renewTrust } from "../../../src/trust/trust-set.ts";
import { faultOf } from "../../support/fault-of.ts";
import { dirOf, Places } from "./support/backups.ts";
import { mint, random, type TestControlPlane } from "./support/control-plane.ts";
import { runControl } from "./support/run-control.ts";
import { ScriptedAgent } from "./support/scripted-agent.ts";

const DAY_MS = 86_400_000;

const places = new Places();
const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
  await places.clean();
});

const keys = (control: TestControlPlane, ...words: string[]) =>
  runControl(["keys", ...words, "--data-dir", dirOf(control)]);
const list = async (control: TestControlPlane, ...words: string[]): Promise<KeyList> =>
  JSON.parse((await keys(control, ...words, "--json")).out) as KeyList;
const signerOf = ({ keys: all }: KeyList, use: string) =>
  all.find((key) => key.use === use && key.standing === "signs")?.kid ?? "";
const headerOf = (jws: string) =>
  JSON.parse(Buffer.from(jws.split(".")[0] ?? "", "base64url").toString()) as { kid: string };
const trustOf = async (url: string) => (await (await fetch(`${url}${ROUTES.trust}`)).json()) as TrustDocument;

/** As an agent does when it can verify no reply any more: the key set, under the root it has pinned. */
const fetchTrust = async (agent: ScriptedAgent): Promise<void> => {
  agent.trust = await renewTrust(agent.trust, await trustOf(agent.url), agent.nowS());
};

describe("keys of a serving Control Plane", () => {
  test("are shown with windows, who signs, the root in both forms, and nothing to do", async () => {
    const control = await places.start();
    const shown = await list(control, "list");
    expect(shown.root.on_server).toBeTrue();
    expect([shown.trust.seq, shown.findings, shown.keys.map(({ standing }) => standing)]).toEqual([
      1,
      [],
      ["signs", "signs", "signs"],
    ]);
    const { out } = await keys(control, "list");
    for (const text of [
      shown.root.thumbprint,
      shown.root.token_form,
      "on this server",
      "number 1",
      "signs until",
    ]) {
      expect(out).toContain(text);
    }
  });

  test("rotate for all uses: agents learn the successors from signed replies, weeks before they sign", async () => {
    const control = await places.start();
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    await agent.beat();
    const before = await list(control, "list");
    const after = await list(control, "rotate");
    for (const use of ["job", "order", "license"]) expect(signerOf(after, use)).toBe(signerOf(before, use));
    expect(after.keys.filter(({ standing }) => standing === "next")).toHaveLength(3);
    await agent.beat();
    expect(agent.trust.claims.seq).toBe(2);
    control.shift(8 * DAY_MS);
    agent.aheadS = (8 * DAY_MS) / 1000;
    await agent.signIn();
    await agent.beat(); // signed by the successor, which it knows
    const later = await list(control, "list");
    for (const use of ["job", "order", "license"])
      expect(signerOf(later, use)).not.toBe(signerOf(before, use));
  });

  test("revoked for licenses: the reply that tells of it brings a license of another key", async () => {
    const control = await places.start();
    const fleet = await Promise.all(
      [1, 2, 3].map(async () => await ScriptedAgent.enrol(control.url, await mint(control))),
    );
    for (const agent of fleet) await agent.beat();
    const kid = signerOf(await list(control, "list"), "license");
    // Beats come in all the while, so that one would see a half-made change.
    let revoking = true;
    const beats = fleet.map(async (agent) => {
      while (revoking) {
        await agent.beat();
        await openLicense(agent.license, agent.trust, { jkt: agent.identity.kid, agentId: null });
      }
    });
    const after = await list(control, "revoke", kid, "--reason", "stolen");
    revoking = false;
    await Promise.all(beats);
    expect(after.keys.find((key) => key.kid === kid)?.standing).toBe("revoked");
    expect(signerOf(after, "license")).not.toBe(kid);
    for (const agent of fleet) {
      await agent.beat();
      expect(headerOf(agent.license).kid).toBe(signerOf(after, "license"));
      await openLicense(agent.license, agent.trust, { jkt: agent.identity.kid, agentId: null });
      expect(agent.trust.keyFor("license", kid, agent.nowS())).toBeNull();
    }
    await control.restart();
    for (const agent of fleet) await agent.beat();
    const ledger = await readFile(join(dirOf(control), "ledger.jsonl"), "utf8");
    expect([ledger.includes(kid), ledger.includes("stolen")]).toEqual([true, true]);
  });

  test("revoked for orders, or rotated at once: the root's word is enough to go on", async () => {
    const control = await places.start();
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    await agent.beat();
    const kid = signerOf(await list(control, "list"), "order");
    for (const words of [
      ["revoke", kid, "--reason", "x"],
      ["rotate", "--use", "order", "--now"],
    ]) {
      const after = await list(control, ...words);
      expect(signerOf(after, "order")).not.toBe(kid);
      const request = agent.beatRequest();
      const unsigned = await faultOf(agent.sendBeat(request)); // the reply came, its key is not known
      expect(unsigned.code).toBe("WIRE_REPLY_UNSIGNED");
      await fetchTrust(agent);
      await agent.take(await agent.sendBeat(request)); // the same beat again is answered again
      await agent.beat();
    }
  });

  test("are named when they are not there, and changed by nobody without the admin key", async () => {
    const control = await places.start();
    const unknown = await keys(control, "revoke", "x".repeat(43), "--reason", "x");
    expect([unknown.exit, unknown.err.includes("KEY_UNKNOWN")]).toEqual([66, true]);
    expect((await keys(control, "revoke", "short", "--reason", "x")).exit).toBe(64);
    expect((await keys(control, "revoke", "x".repeat(43))).exit).toBe(64);
    for (const path of ["", "/rotate", "/revoke", "/request", "/install"]) {
      const method = path === "" ? "GET" : "POST";
      const reply = await fetch(`${control.url}/api/v1/keys${path}`, {
        method,
        ...(path === "" ? {} : { body: "{}" }),
      });
      expect(reply.status).toBe(401);
    }
  });
});

/** Runs the program on a terminal of its own and types an answer; its exit status and what it showed. */
async function onTerminal(argv: readonly string[], answer: string): Promise<{ exit: number; shown: string }> {
  let shown = "";
  const program = join(import.meta.dir, "../../../src/control.ts");
  const child = Bun.spawn([process.execPath, program, ...argv], {
    env: { PATH: process.env["PATH"] ?? "" },
    terminal: {
      data: (terminal, data) => {
        const asked = shown.includes("[yes/no]");
        shown += new TextDecoder().decode(data);
        if (!asked && shown.includes("[yes/no]")) terminal.write(`${answer}\n`);
      },
    },
  });
  const exit = await child.exited;
  return { exit, shown };
}

describe("a root kept elsewhere", () => {
  async function served(
    dataDir: string,
    now: { ms: number },
  ): Promise<{ running: RunningControlPlane; log: string[] }> {
    const log: string[] = [];
    const running = await startControlPlane({
      dataDir,
      listen: { host: "127.0.0.1", port: 0 },
      publicUrl: null,
      intervalS: 60,
      maxWakes: 1,
      log: (level, message, fields) => log.push(JSON.stringify({ level, message, ...fields })),
      nowMs: () => now.ms,
      random,
    });
    stops.push(() => running.stop());
    return { running, log };
  }

  async function setUp() {
    const place = await places.scratch();
    const dataDir = join(place, "control");
    const root = join(place, "usb-root.pem");
    const made = await runControl(["init", "--data-dir", dataDir, "--root-key", root, "--json"]);
    return { place, dataDir, root, made };
  }

  test("is made once, 0600, outside; the data directory has its public half only, and nothing is set up twice", async () => {
    const { dataDir, root, made, place } = await setUp();
    expect([made.exit, JSON.parse(made.out)]).toMatchObject([0, { root_key: root, root_key_made: true }]);
    expect((await stat(root)).mode & 0o777).toBe(0o600);
    const secret = (await readFile(root, "utf8")).split("\n")[1] ?? "";
    for (const name of await readdir(dataDir, { recursive: true, withFileTypes: true })) {
      if (name.isFile())
        expect(await readFile(join(name.parentPath, name.name), "utf8")).not.toContain(secret);
    }
    expect((await runControl(["init", "--data-dir", dataDir, "--root-key", root])).exit).toBe(73);
    const second = join(place, "second");
    const used = await runControl(["init", "--data-dir", second, "--root-key", root, "--json"]);
    expect(JSON.parse(used.out)).toMatchObject({
      root_key_made: false,
      root: (JSON.parse(made.out) as { root: string }).root,
    });
    const inside = await runControl([
      "init",
      "--data-dir",
      join(place, "third"),
      "--root-key",
      join(place, "third/root.pem"),
    ]);
    expect([inside.exit, inside.err.includes("outside the data directory")]).toEqual([64, true]);
    await chmod(root, 0o644);
    const open = await runControl(["init", "--data-dir", join(place, "fourth"), "--root-key", root]);
    expect([open.exit, open.err.includes("ROOT_KEY_UNUSABLE")]).toEqual([78, true]);
    const plain = await runControl(["init", "--data-dir", join(place, "fifth")]);
    expect([plain.exit, await readdir(join(place, "fifth/keys"))]).toMatchObject([
      0,
      expect.arrayContaining(["root.pem"]),
    ]);
  });

  test("signs request by request what it is shown, after a yes; the server goes on for 90 days each time", async () => {
    const { dataDir, root, place } = await setUp();
    const now = { ms: Date.now() };
    const { running, log } = await served(dataDir, now);
    const request = join(place, "request.json");
    const signed = join(place, "signed.json");
    const at = (...words: string[]) => runControl([...words, "--data-dir", dataDir]);
    expect(JSON.parse((await at("keys", "list", "--json")).out)).toMatchObject({
      root: { on_server: false },
      findings: [],
    });
    for (const words of [["rotate"], ["revoke", "x".repeat(43), "--reason", "x"]]) {
      const refused = await at("keys", ...words);
      expect([refused.exit, refused.err.includes("keys request")]).toEqual([78, true]);
    }
    now.ms += 70 * DAY_MS;
    const warned = await at("keys", "list");
    expect([warned.exit, warned.out.includes("KEYS_TRUST_EXPIRES")]).toEqual([0, true]);
    expect((await fetch(`${running.url}/readyz`)).status).toBe(200);
    await running.stop();
    const again = await served(dataDir, now);
    expect(again.log.join("\n")).toContain("KEYS_TRUST_EXPIRES");
    expect(log.join("\n")).not.toContain("KEYS_TRUST_EXPIRES");

    expect((await at("keys", "request", "--out", request)).exit).toBe(0);
    const sign = (...words: string[]) => runControl(["keys", "sign", request, "--root-key", root, ...words]);
    const asked = await sign("--out", signed);
    expect([asked.exit, asked.err.includes("ANSWER_NEEDED")]).toEqual([64, true]);
    const no = await onTerminal(["keys", "sign", request, "--root-key", root, "--out", signed], "y");
    expect([no.exit, no.shown.includes("ANSWER_NO")]).toEqual([1, true]);
    const elsewhere = join(place, "yes.json");
    expect(
      (await onTerminal(["keys", "sign", request, "--root-key", root, "--out", elsewhere], "yes")).exit,
    ).toBe(0);
    const done = await sign("--out", signed, "--yes");
    expect([done.exit, done.err.includes("Key set number 2"), done.err.includes("Expires")]).toEqual([
      0,
      true,
      true,
    ]);
    expect((await sign("--out", signed, "--yes")).err).toContain("OUTPUT_EXISTS");
    const installed = await at("keys", "install", signed, "--json");
    expect(JSON.parse(installed.out)).toMatchObject({ trust: { seq: 2 }, findings: [] });
    const stale = await at("keys", "install", signed);
    expect([stale.exit, stale.err.includes("KEY_SET_REFUSED")]).toEqual([65, true]);
    expect((await readdir(join(dataDir, "keys"))).includes("root.pem")).toBeFalse();
  });

  test("does not sign what was changed on the way, what is beyond its bounds, or with a key that is not it", async () => {
    const { dataDir, root, place } = await setUp();
    await served(dataDir, { ms: Date.now() });
    const request = join(place, "request.json");
    await runControl(["keys", "request", "--out", request, "--data-dir", dataDir]);
    const text = await readFile(request, "utf8");
    const parsed = JSON.parse(text) as { claims: { exp: number; keys: { exp: number }[] } };
    const sign = (file: string, key = root) =>
      runControl(["keys", "sign", file, "--root-key", key, "--out", join(place, "never.json"), "--yes"]);
    const cases = [
      "not json",
      text.replace('"claims"', '"claim"'),
      JSON.stringify({ ...parsed, extra: 1 }),
      JSON.stringify({ ...parsed, claims: { ...parsed.claims, exp: parsed.claims.exp + 1 } }),
    ];
    for (const [index, content] of cases.entries()) {
      const file = join(place, `bad-${index}.json`);
      await writeFile(file, content);
      const ran = await sign(file);
      expect([ran.exit, ran.err.includes("KEY_REQUEST_MALFORMED")]).toEqual([65, true]);
    }
    const other = join(place, "other");
    await mkdir(other, { mode: 0o700 });
    await runControl(["init", "--data-dir", join(other, "control"), "--root-key", join(other, "root.pem")]);
    const foreign = await sign(request, join(other, "root.pem"));
    expect([foreign.exit, foreign.err.includes("ROOT_KEY_UNUSABLE")]).toEqual([78, true]);
    expect((await sign(join(place, "none.json"))).exit).toBe(66);
    expect((await sign(request, join(place, "none.pem"))).exit).toBe(78);
    expect(await readdir(place)).not.toContain("never.json");
  });

  test("away for too long: the server starts, answers, and says what to do; signed for again, agents come back", async () => {
    const { dataDir, root, place } = await setUp();
    const now = { ms: Date.now() };
    await (await served(dataDir, now)).running.stop();
    now.ms += 200 * DAY_MS;
    const { running } = await served(dataDir, now);
    expect((await fetch(`${running.url}/readyz`)).status).toBe(200);
    const admin = (await readFile(running.paths.adminKey, "utf8")).trim();
    const list = await fetch(`${running.url}/api/v1/keys`, { headers: { authorization: `Bearer ${admin}` } });
    expect(await list.text()).toContain("KEYS_ENDED");
    const request = join(place, "request.json");
    const signed = join(place, "signed.json");
    await runControl(["keys", "request", "--out", request, "--data-dir", dataDir]);
    await runControl(["keys", "sign", request, "--root-key", root, "--out", signed, "--yes"]);
    expect((await runControl(["keys", "install", signed, "--data-dir", dataDir])).exit).toBe(0);
    const after = (await (
      await fetch(`${running.url}/api/v1/keys`, { headers: { authorization: `Bearer ${admin}` } })
    ).json()) as KeyList;
    expect([after.findings, signerOf(after, "order") === ""]).toEqual([[], false]);
  });
});
