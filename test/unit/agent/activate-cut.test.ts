// Goal: wherever an activation is cut, by a crash or by the disk, the host is one agent whole or none, never a mixture and
// never one that counts as tampered with, and the same token makes it whole.
// Method: at every change the real activation makes to the file system, copy the directory as a crash would leave it, or
// let the change fail; then look who the host says it is, and activate again.

import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Journal } from "../../../src/agent/journal.ts";
import { statePaths } from "../../../src/agent/state-files.ts";
import { isFault } from "../../../src/fault/fault.ts";
import { faultOf } from "../../support/fault-of.ts";
import { serveScripted } from "../../support/scripted-wire.ts";
import { copyTree, systemError, watchingChanges } from "../../support/watched-files.ts";
import { ActivationDesk } from "./activation-desk.ts";
import { hostNames, identityOf, tree } from "./hosts.ts";

const fresh = hostNames();
const copies = mkdtempSync(join(tmpdir(), "agentina-cut-"));
afterAll(() => rmSync(copies, { recursive: true, force: true }));
let crashes = 0;

interface Former {
  readonly agentId: string;
}

/** A host with a life behind it, and a fresh token for the next. */
async function withFormerLife(desk: ActivationDesk): Promise<{ dir: string; former: Former }> {
  const dir = fresh();
  const { agent_id } = await desk.activate(dir);
  const journal = Journal.open(statePaths(dir).journal);
  journal.setChain({ n: 41, nonce: "x".repeat(22) });
  journal.close();
  writeFileSync(statePaths(dir).bearer, "{}", { mode: 0o600 });
  await desk.mint();
  return { dir, former: { agentId: agent_id } };
}

/** Who the host is: nobody, the former agent with its journal, or the new one with an empty one. */
async function whoIs(
  desk: ActivationDesk,
  dir: string,
  former: Former | null,
): Promise<"nobody" | "former" | "new"> {
  const journal = statePaths(dir).journal;
  try {
    const { file, keys } = await identityOf(desk, dir);
    const told = desk.opened.find(({ identity_jwk }) => identity_jwk.x === keys.identity.jwk.x);
    expect(keys.sealing.jwk).toEqual(told?.sealing_jwk as typeof keys.sealing.jwk);
    if (file.agent_id === former?.agentId) {
      const life = Journal.open(journal);
      expect(life.chain()?.n).toBe(41);
      life.close();
      return "former";
    }
    expect(file.agent_id).toBe(desk.redeemed?.agentId as typeof file.agent_id);
    expect(existsSync(journal)).toBe(false);
    return "new";
  } catch (error) {
    if (isFault(error, "STATE_INACTIVE")) return "nobody";
    throw error;
  }
}

/** Activates again, as a person would who saw it fail. */
async function heal(desk: ActivationDesk, dir: string): Promise<void> {
  const { agent_id } = await desk.activate(dir, { force: true });
  expect(agent_id).toBe(desk.redeemed?.agentId ?? "");
  expect(await whoIs(desk, dir, null)).toBe("new");
  expect(Object.keys(tree(dir)).filter((path) => /next|\.tmp$/.test(path))).toEqual([]);
}

describe.each(["a new host", "an active host, with --force"])("activation of %s", (kind) => {
  const begin = async (desk: ActivationDesk) =>
    kind === "a new host" ? { dir: fresh(), former: null } : await withFormerLife(desk);

  test("cut by a crash at any change", async () => {
    using desk = await ActivationDesk.open();
    const { dir, former } = await begin(desk);
    const seen = new Set<string>();
    const cuts: { copy: string; desk: ActivationDesk; change: string }[] = [];
    const note = (change: string) => {
      if (!existsSync(dir)) return;
      const copy = join(copies, String(++crashes));
      copyTree(dir, copy);
      cuts.push({ copy, desk: desk.fork(), change });
    };
    await watchingChanges({ after: note }, () => desk.activate(dir, { force: true }));
    expect(cuts.length).toBeGreaterThan(30);
    for (const cut of cuts) {
      cut.desk.opened.push(...desk.opened);
      const who = await whoIs(cut.desk, cut.copy, former);
      seen.add(who);
      if (who !== "new") await heal(cut.desk, cut.copy);
    }
    expect(seen).toEqual(new Set(former ? ["former", "nobody", "new"] : ["nobody", "new"]));
    expect(desk.control.violations).toEqual([]);
  });

  test("met by a full or read-only disk at any change", async () => {
    let changes = Number.POSITIVE_INFINITY;
    for (let failAt = 1; failAt <= changes; failAt++) {
      using desk = await ActivationDesk.open();
      const { dir, former } = await begin(desk);
      let count = 0;
      const before = () => {
        count += 1;
        if (count === failAt) throw systemError(failAt % 2 === 0 ? "ENOSPC" : "EROFS");
      };
      try {
        await watchingChanges({ before }, () => desk.activate(dir, { force: true }));
        if (count < failAt) changes = 0; // nothing left to fail
      } catch (error) {
        if (!isFault(error)) throw new Error(`change ${failAt}: ${String(error)}`, { cause: error });
        expect(error.code).toStartWith("STATE_");
      }
      if ((await whoIs(desk, dir, former)) !== "new") await heal(desk, dir);
    }
  });
});

describe("a real disk", () => {
  /** Runs an activation in a view of its own, where /mnt is what `mount` says. */
  async function within(mount: readonly string[], url: string, token: string) {
    const script = join(import.meta.dir, "activate-child.ts");
    const view = ["/usr/bin/bwrap", "--dev-bind", "/", "/", ...mount, "--die-with-parent", "--"];
    const child = Bun.spawn([...view, process.execPath, script, "/mnt/state", url, token], {
      env: { PATH: "/usr/bin:/bin" },
      stdout: "pipe",
      stderr: "inherit",
    });
    const text = await new Response(child.stdout).text();
    expect(await child.exited).toBe(0);
    return JSON.parse(text) as { code?: string; agent_id?: string };
  }

  test("that is full, read-only, or just large enough", async () => {
    using desk = await ActivationDesk.open(Date.now());
    await using server = serveScripted(desk.control);
    const small = (pages: number) => ["--size", String(pages * 4096), "--tmpfs", "/mnt"];
    expect((await within(small(4), server.url, desk.token)).code).toBe("STATE_DISK_FULL");
    const bound = join(copies, "read-only");
    mkdirSync(bound, { mode: 0o700 });
    expect((await within(["--ro-bind", bound, "/mnt"], server.url, desk.token)).code).toBe(
      "STATE_DIR_CREATE",
    );
    mkdirSync(join(bound, "state"), { mode: 0o700 });
    expect((await within(["--ro-bind", bound, "/mnt"], server.url, desk.token)).code).toBe(
      "STATE_DIR_CREATE",
    );
    mkdirSync(join(bound, "state", "work"), { mode: 0o700 });
    expect((await within(["--ro-bind", bound, "/mnt"], server.url, desk.token)).code).toBe(
      "STATE_DIR_UNWRITABLE",
    );
    await desk.mint();
    expect((await within(small(64), server.url, desk.token)).agent_id).toStartWith("agt_");
  });

  test("whose token is spent by a key it could not keep is told so", async () => {
    using desk = await ActivationDesk.open();
    const dir = fresh();
    await desk.activate(dir);
    rmSync(dir, { recursive: true });
    const why = await faultOf(desk.activate(dir));
    expect([why.code, why.params["why"]]).toEqual(["WIRE_REFUSED", "TOKEN_USED it is"]);
  });
});
