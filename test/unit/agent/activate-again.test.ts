// Goal: a host that is an agent already stays that agent or becomes another, whole; a license that is not what it should be
// makes no agent; a reply that was lost costs no token.
// Method: the real activation on hosts with a life behind them, against a desk that opens what is sealed, honest or lying.

import { describe, expect, test } from "bun:test";
import { existsSync, lstatSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Journal } from "../../../src/agent/journal.ts";
import { takeLock } from "../../../src/agent/lock.ts";
import { standing } from "../../../src/agent/standing.ts";
import { readAgentFile, readKeyPair, statePaths } from "../../../src/agent/state-files.ts";
import { FIRST_PREV_SHA256 } from "../../../src/protocol/receipt.ts";
import { anySigningKey } from "../../support/authority.ts";
import { faultOf } from "../../support/fault-of.ts";
import { lost, refuses, unreachable } from "../../support/lies.ts";
import { ActivationDesk } from "./activation-desk.ts";
import { hostNames, identityOf, lasting } from "./hosts.ts";

const fresh = hostNames();

describe("a server that lies about the license", () => {
  const hour = 3_600;
  const lies: Readonly<Record<string, (desk: ActivationDesk) => Promise<void>>> = {
    "of another key": async (desk) => {
      desk.license = { cnf: { jkt: (await anySigningKey()).kid } };
    },
    "for another agent": async (desk) => {
      desk.license = { sub: `agt_${"q".repeat(20)}` as never };
    },
    "of another Control Plane": async (desk) => {
      desk.license = { iss: `cp_${"q".repeat(20)}` as never };
    },
    "long expired": async (desk) => {
      const nowS = desk.time.nowS();
      desk.license = { iat: nowS - 30, nbf: nowS - 30, exp: nowS - 10, offline_grace_s: 0 };
    },
    "expired and in its grace": async (desk) => {
      desk.license = { exp: desk.time.nowS() - 1, nbf: desk.time.nowS() - 1 };
    },
    "of the future": async (desk) => {
      desk.license = { nbf: desk.time.nowS() + hour };
    },
    "that ends before it begins": async (desk) => {
      desk.license = { nbf: desk.time.nowS() + hour, exp: desk.time.nowS() };
    },
    "signed with the job key": async ({ control: { authority } }) => {
      authority.keys = { ...authority.keys, license: authority.keys.job };
    },
    "signed by a stranger": async ({ control: { authority } }) => {
      authority.keys = { ...authority.keys, license: await anySigningKey() };
    },
  };
  for (const [name, lie] of Object.entries(lies)) {
    test(`${name} activates nothing, and leaves an active host as it was`, async () => {
      using desk = await ActivationDesk.open();
      const active = fresh();
      await desk.activate(active);
      const before = lasting(active);
      const trust = await desk.control.authority.trustDocument();
      desk.control.always("trust", async (_, __, control) => control.json(trust));
      for (const dir of [active, fresh()]) {
        await desk.mint();
        await lie(desk);
        const why = await faultOf(desk.activate(dir, { force: true }));
        expect(["LICENSE_INVALID", "JWS_UNKNOWN_KEY"]).toContain(why.code);
      }
      expect(lasting(active)).toEqual(before);
      await identityOf(desk, active);
    });
  }
});

describe("an active host", () => {
  const activated = async () => {
    const desk = await ActivationDesk.open();
    const dir = fresh();
    const first = await desk.activate(dir);
    await desk.mint();
    return { desk, dir, first };
  };

  test("is not activated again by mistake, and nothing is asked of anybody", async () => {
    const { desk, dir } = await activated();
    using _ = desk;
    const before = lasting(dir);
    const asked = desk.control.requests.length;
    expect((await faultOf(desk.activate(dir))).code).toBe("STATE_ALREADY_ACTIVE");
    expect(desk.control.requests).toHaveLength(asked);
    expect(lasting(dir)).toEqual(before);
  });

  test("whose license has expired is", async () => {
    const { desk, dir, first } = await activated();
    using _ = desk;
    desk.time.setWall(desk.time.wallMs() + 38 * 86_400_000);
    desk.control.authority.trustClaims = desk.control.authority.trustOf(desk.control.authority.keys, 2);
    expect((await desk.activate(dir)).agent_id).not.toBe(first.agent_id);
  });

  test.each([
    ["TOKEN_USED", refuses(403, "TOKEN_USED")],
    ["no connection", unreachable],
  ])("keeps everything, and is not tampered with, when --force meets %s", async (_, lie) => {
    const { desk, dir } = await activated();
    using __ = desk;
    const before = lasting(dir);
    desk.control.next("activate", lie);
    await faultOf(desk.activate(dir, { force: true }));
    expect(lasting(dir)).toEqual(before);
    expect(existsSync(statePaths(dir).nextIdentityKey)).toBe(true);
    await identityOf(desk, dir);
  });

  test("becomes another agent with --force: new keys, an empty journal, no bearer, the old journal kept", async () => {
    const { desk, dir, first } = await activated();
    using _ = desk;
    const paths = statePaths(dir);
    const old = (await readKeyPair(dir))?.identity.kid;
    const journal = Journal.open(paths.journal);
    journal.setChain({ n: 41, nonce: "x".repeat(22) });
    journal.close();
    writeFileSync(paths.bearer, "{}");
    const second = await desk.activate(dir, { force: true });
    expect(second.agent_id).not.toBe(first.agent_id);
    expect((await identityOf(desk, dir)).keys.identity.kid).not.toBe(old ?? "");
    expect([existsSync(paths.journal), existsSync(paths.bearer)]).toEqual([false, false]);
    const kept = Journal.open(join(paths.work, `journal-${first.agent_id}.db`), "read");
    expect(kept.chain()?.n).toBe(41);
    expect(kept.receiptHead().sha256).toBe(FIRST_PREV_SHA256);
    kept.close();
  });

  test("that somebody is running is not touched", async () => {
    const { desk, dir } = await activated();
    using _ = desk;
    const before = lasting(dir);
    using __ = takeLock(statePaths(dir).lock, dir);
    const why = await faultOf(desk.activate(dir, { force: true }));
    expect([why.code, why.params["pid"]]).toEqual(["STATE_LOCKED", String(process.pid)]);
    expect(lasting(dir)).toEqual(before);
  });

  test.each([
    ["garbage", (path: string) => writeFileSync(path, "{")],
    [
      "a link",
      (path: string) => {
        rmSync(path);
        symlinkSync("/etc/passwd", path);
      },
    ],
  ])("whose agent.json is %s says so, and is mended by --force as its remedy promises", async (_, spoil) => {
    const { desk, dir } = await activated();
    using __ = desk;
    spoil(statePaths(dir).agent);
    expect((await faultOf(desk.activate(dir))).code).toBe("STATE_FILE_MALFORMED");
    const { agent_id } = await desk.activate(dir, { force: true });
    expect(readAgentFile(dir)?.agent_id).toBe(agent_id as never);
    expect(lstatSync("/etc/passwd").isFile()).toBe(true);
  });
});

describe("an agent that is over", () => {
  const over: Readonly<Record<string, (dir: string) => void>> = {
    "ended, by its file": (dir) => writeFileSync(statePaths(dir).terminal, "x", { mode: 0o600 }),
    "quarantined, by its file": (dir) => writeFileSync(statePaths(dir).quarantine, "x", { mode: 0o600 }),
    "ended, by its journal": (dir) =>
      journaled(dir, (journal) => standing.setEnd(journal, { ...why, grace_s: 0 })),
    "quarantined, by its journal": (dir) =>
      journaled(dir, (journal) =>
        standing.setQuarantine(journal, { ...why, epoch: 1, code: "STATE_QUARANTINED" }),
      ),
  };
  const why = { reason: "ordered", since: 1, jws: "x" };
  function journaled(dir: string, write: (journal: Journal) => void): void {
    const journal = Journal.open(statePaths(dir).journal);
    write(journal);
    journal.close();
  }

  for (const [name, end] of Object.entries(over)) {
    test(`${name}, becomes another without --force, and what it was is kept`, async () => {
      using desk = await ActivationDesk.open();
      const dir = fresh();
      const first = await desk.activate(dir);
      const paths = statePaths(dir);
      end(dir);
      const left = ["terminal", "quarantine", "seal", "journal"].filter((kind) =>
        existsSync(join(dir, kind === "journal" ? "journal.db" : `${kind}.jws`)),
      );
      await desk.mint();
      const second = await desk.activate(dir);
      expect(second.agent_id).not.toBe(first.agent_id);
      await identityOf(desk, dir);
      expect([paths.terminal, paths.quarantine, paths.journal].filter((path) => existsSync(path))).toEqual(
        [],
      );
      const kept = readdirSync(paths.work).filter((entry) => entry.includes(first.agent_id));
      expect(kept.map((entry) => entry.split("-")[0] ?? "").sort()).toEqual(left.sort());
    });
  }

  test("or was tampered with, whatever lies there, becomes another with --force", async () => {
    const deeds: ((dir: string) => void)[] = [
      (dir) => rmSync(statePaths(dir).seal),
      (dir) => writeFileSync(statePaths(dir).seal, "x"),
      (dir) => {
        rmSync(statePaths(dir).seal);
        mkdirSync(statePaths(dir).seal);
      },
      (dir) => mkdirSync(statePaths(dir).terminal),
      (dir) => symlinkSync("/etc/passwd", statePaths(dir).quarantine),
      (dir) => rmSync(statePaths(dir).agent),
      (dir) => rmSync(statePaths(dir).identityKey),
      (dir) => writeFileSync(statePaths(dir).identityKey, "x"),
      (dir) => symlinkSync("/etc/passwd", statePaths(dir).nextSeal),
    ];
    for (const deed of deeds) {
      using desk = await ActivationDesk.open();
      const dir = fresh();
      await desk.activate(dir);
      deed(dir);
      await desk.mint();
      const { agent_id } = await desk.activate(dir, { force: true });
      expect<string>((await identityOf(desk, dir)).file.agent_id).toBe(agent_id);
    }
    expect(lstatSync("/etc/passwd").isFile()).toBe(true);
  });
});

describe("a reply that was lost", () => {
  test("is asked for again with the same keys, and the same agent comes of it", async () => {
    using desk = await ActivationDesk.open();
    const dir = fresh();
    desk.control.next(
      "activate",
      async (_, exchange, control) => {
        const served = () => desk.serve(exchange);
        return await lost(served, exchange, control);
      },
      async (_, exchange) => {
        await desk.serve(exchange);
        return new Response('{"v":1', { headers: { "content-type": "application/json" } });
      },
    );
    expect((await faultOf(desk.activate(dir))).code).toBe("WIRE_UNREACHABLE");
    expect((await faultOf(desk.activate(dir))).code).toBe("WIRE_REPLY_MALFORMED");
    const { agent_id } = await desk.activate(dir);
    expect(agent_id).toBe(desk.redeemed?.agentId ?? "");
    expect(new Set(desk.opened.map(({ identity_jwk }) => identity_jwk.x)).size).toBe(1);
    expect(new Set(desk.opened.map(({ sealing_jwk }) => sealing_jwk.x)).size).toBe(1);
  });
});
