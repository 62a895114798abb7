// Goal: an agent whose files or whose machine are not what they were says so, takes no work, and goes on by itself when it
// is undone; one that can tell nobody stays up and waits.
// Method: agents on real sealed directories, meddled with while they are down and while they run; a machine that changes.

import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { chmodSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { Living, MACHINE } from "./living.ts";

const MINUTE = 60_000;

async function stopped(): Promise<Living> {
  const living = await Living.make();
  await living.start();
  await living.end();
  return living;
}

describe("state files that were altered while the agent was down", () => {
  const deeds: readonly (readonly [string, string, (living: Living) => void])[] = [
    ["license.jwt", "SEAL_MODIFIED", (living) => living.spoil("license.jwt")],
    ["license.jwt", "SEAL_MISSING", (living) => rmSync(living.at("license.jwt"))],
    ["fingerprint.json", "SEAL_MISSING", (living) => rmSync(living.at("fingerprint.json"))],
    ["trust.json", "SEAL_MISSING", (living) => rmSync(living.at("trust.json"))],
    ["keypair/sealing.pem", "SEAL_MISSING", (living) => rmSync(living.at("keypair/sealing.pem"))],
    ["notes.txt", "SEAL_UNEXPECTED", (living) => writeFileSync(living.at("notes.txt"), "hello")],
    ["license.jwt", "SEAL_OPEN", (living) => chmodSync(living.at("license.jwt"), 0o644)],
  ];
  test.each(deeds)(
    "%s (%s): it beats, names it, takes nothing, and goes on once it is put back",
    async (name, code, deed) => {
      await using living = await stopped();
      const kept = living.copy();
      deed(living);
      await living.start();
      await living.beat();
      const { control } = living;
      expect(control.heard.at(-1)).toMatchObject({
        agent: { state: "tampered" },
        integrity: [{ code, name }],
      });
      const offered = await control.offer();
      await living.beat();
      expect(living.now.journal.job(offered.jti, 1)).toBeNull();
      const status = await living.status();
      expect(status).toMatchObject({ state: "tampered", seal: { whole: false, findings: [{ code, name }] } });
      expect(status.findings[0]).toMatchObject({ code: "STATE_TAMPERED" });
      expect(status.findings[0]?.message).toContain(name);
      putBack(living, kept, name);
      await living.beat();
      expect(control.heard.at(-1)).toMatchObject({ agent: { state: "idle" }, integrity: [] });
      expect((await living.status()).seal?.whole).toBe(true);
      await living.startJob();
      expect(living.processes).toHaveLength(2);
      expect(control.violations).toEqual([]);
      await kept[Symbol.asyncDispose]();
    },
  );

  const mute: readonly (readonly [string, (living: Living) => void])[] = [
    ["keypair/identity.pem", (living) => rmSync(living.at("keypair/identity.pem"))],
    ["keypair/identity.pem", (living) => writeFileSync(living.at("keypair/identity.pem"), "nonsense")],
    ["agent.json", (living) => rmSync(living.at("agent.json"))],
    ["agent.json", (living) => writeFileSync(living.at("agent.json"), "{}")],
    ["seal.jws", (living) => rmSync(living.at("seal.jws"))],
  ];
  test.each(mute)(
    "%s: it stays up, beats nothing, says so every minute, and goes on once it is put back",
    async (name, deed) => {
      await using living = await stopped();
      const kept = living.copy();
      const beats = living.control.heard.length;
      deed(living);
      await living.start();
      await living.time.advance(5 * MINUTE);
      expect(living.control.heard).toHaveLength(beats);
      expect(living.now.failure).toBeNull();
      const told = living.now.heard("state.tampered").filter((fields) => fields["name"] === name);
      expect(told.length).toBeGreaterThanOrEqual(5);
      expect((await living.status()).state).toBe("tampered");
      putBack(living, kept, name);
      await living.time.advance(2 * MINUTE);
      expect(living.control.heard.at(-1)?.agent.state).toBe("idle");
      await kept[Symbol.asyncDispose]();
    },
  );

  test("and that nobody can tell of: a signal ends the waiting", async () => {
    await using living = await stopped();
    rmSync(living.at("keypair/identity.pem"));
    await living.start();
    living.now.reins.drain(1_000);
    await living.time.settle();
    expect(living.now.exit).toBe(0);
  });

  test("trust.json under another root: nothing under that root is believed", async () => {
    await using living = await stopped();
    const { authority } = living.control;
    const { root } = await (await import("../../support/authority.ts")).makeKeys();
    const document = await authority.trustDocument(root);
    writeFileSync(living.at("trust.json"), `${JSON.stringify(document, null, 2)}\n`);
    await living.start();
    await living.beat();
    expect(living.control.heard.at(-1)).toMatchObject({
      agent: { state: "tampered" },
      integrity: [{ code: "SEAL_MODIFIED", name: "trust.json" }],
    });
    expect(living.control.violations).toEqual([]);
  });

  test("an admin may accept as they are: reseal, under a higher number", async () => {
    await using living = await stopped();
    living.spoil("fingerprint.json");
    await living.start();
    await living.beat();
    const { control } = living;
    const ctr = control.heard.at(-1)?.seal?.ctr ?? 0;
    control.desk.give({ type: "reseal", ctr });
    await living.beat();
    expect(living.now.heard("order.refused")).toMatchObject([{ code: "ORDER_NOT_APPLICABLE" }]);
    expect(control.heard.at(-1)?.agent.state).toBe("tampered");
    control.desk.give({ type: "reseal", ctr: ctr + 10 });
    await living.beat();
    expect(control.heard.at(-1)).toMatchObject({ agent: { state: "idle" }, integrity: [] });
    expect(control.heard.at(-1)?.seal?.ctr).toBeGreaterThanOrEqual(ctr + 10);
    expect((await living.status()).seal?.whole).toBe(true);
  });
});

test("receipts that were altered keep an agent from work until an admin accepts them as they are", async () => {
  await using living = await Living.make();
  await living.start();
  const { control, time } = living;
  const claims = await living.startJob();
  control.acks = false;
  living.now.tasks[0]?.report();
  await time.until(() => living.now.journal.job(claims.jti, 1)?.outcome === "succeeded");
  await living.end();
  const db = new Database(living.at("journal.db"));
  db.run("DELETE FROM receipts");
  db.close();
  await living.start();
  await living.beat();
  const told = control.heard.at(-1);
  expect(told).toMatchObject({ agent: { state: "tampered" }, integrity: [{ code: "JOURNAL_ALTERED" }] });
  control.desk.give({ type: "reseal", ctr: (told?.seal?.ctr ?? 0) + 1 });
  control.acks = true;
  await living.beat();
  expect(control.heard.at(-1)).toMatchObject({ agent: { state: "idle" }, seal: { head_seq: 1 } });
  await living.restart();
  await living.startJob();
});

describe("state files that are altered while the agent runs", () => {
  test("nothing new starts, what runs may end, and a link is no file", async () => {
    await using living = await Living.make();
    await living.start();
    const { control, time } = living;
    const running = await living.startJob();
    rmSync(living.at("fingerprint.json"));
    symlinkSync("/etc/hostname", living.at("fingerprint.json"));
    await time.advance(70_000);
    expect(control.heard.at(-1)).toMatchObject({
      agent: { state: "tampered" },
      integrity: [{ code: "SEAL_SYMLINK", name: "fingerprint.json" }],
    });
    const late = await control.offer();
    await living.beat();
    expect(living.now.journal.job(late.jti, 1)).toBeNull();
    expect(living.now.tasks[0]?.heard).toEqual([]);
    living.now.tasks[0]?.report();
    await time.until(() => living.now.journal.job(running.jti, 1)?.outcome === "succeeded");
    await living.beat();
    expect(control.receipts.of(running.jti)?.outcome).toBe("succeeded");
  });
});

describe("the machine", () => {
  test("that is another is told from the license's: three looks, a note of its own, no work", async () => {
    await using living = await stopped();
    living.facts = { raw: { machine_id: "0".repeat(31).concat("1") }, unknown: [], problem: null };
    await living.start();
    await living.time.advance(9_000);
    expect(living.now.heard("agent.started")).toEqual([]);
    await living.time.advance(10_000);
    const { control } = living;
    expect(control.heard.at(-1)?.agent.state).toBe("quarantined");
    expect(living.now.heard("fingerprint.mismatch")).toHaveLength(3);
    const status = await living.status();
    expect(status.state).toBe("quarantined");
    expect(status.quarantine?.code).toBe("FINGERPRINT_MISMATCH");
    expect(status.fingerprint).toMatchObject({ verdict: "mismatch", changed: ["machine_id"] });
    expect(status.findings.map(({ code }) => code).slice(0, 2)).toEqual([
      "STATE_QUARANTINED",
      "FINGERPRINT_MISMATCH",
    ]);
    living.facts = { raw: MACHINE, unknown: [], problem: null };
    await living.restart();
    await living.beat();
    expect(control.heard.at(-1)?.agent.state).toBe("quarantined");
    expect(living.text("quarantine.jws")).not.toBeNull();
    control.quarantined = true;
    control.recover(living.now.inst);
    await living.beat();
    await living.time.advance(MINUTE);
    expect(control.heard.at(-1)).toMatchObject({ agent: { state: "idle" }, orders: { epoch: 2 } });
    expect(living.text("quarantine.jws")).toBeNull();
  });

  test("that comes back at the second look is the same", async () => {
    await using living = await stopped();
    living.facts = { raw: {}, unknown: [], problem: null };
    await living.start();
    living.facts = { raw: MACHINE, unknown: [], problem: null };
    await living.time.advance(10_000);
    expect(living.control.heard.at(-1)?.agent.state).toBe("idle");
  });

  test("that drifted works on, and says which parts", async () => {
    await using living = await stopped();
    living.facts = { raw: { ...MACHINE, product_uuid: undefined as never }, unknown: [], problem: null };
    await living.start();
    await living.beat();
    expect(living.now.heard("fingerprint.drift")).toMatchObject([
      { difference: expect.stringContaining("product_uuid") },
    ]);
    expect((await living.status()).findings.map(({ code }) => code)).toContain("FINGERPRINT_DRIFT");
    await living.startJob();
  });

  test("that cannot be read speaks neither for nor against, and the beat says what could not be read", async () => {
    await using living = await stopped();
    const { machine_id } = MACHINE;
    const unknown = ["product_uuid", "board_serial", "root_disk"] as const;
    living.facts = { raw: { machine_id: machine_id ?? "" }, unknown, problem: null };
    await living.start();
    await living.beat();
    expect(living.control.heard.at(-1)).toMatchObject({
      agent: { state: "idle" },
      fingerprint_unknown: [...unknown],
    });
  });

  test("as a new license has it is written down, under the seal", async () => {
    await using living = await Living.make();
    await living.start();
    const { control } = living;
    const fp = { v: 1, components: { machine_id: "m".repeat(22) }, id: `fp_${"n".repeat(32)}` } as const;
    const ctr = control.heard.at(-1)?.seal?.ctr ?? 0;
    control.extra = { license: await control.authority.license({ fp }) };
    await living.beat();
    expect(JSON.parse(readFileSync(living.at("fingerprint.json"), "utf8"))).toEqual(fp);
    await living.beat();
    expect(control.heard.at(-1)).toMatchObject({ integrity: [], agent: { state: "idle" } });
    expect(control.heard.at(-1)?.seal?.ctr).toBeGreaterThan(ctr);
  });
});

/** The file as the copy has it. */
function putBack(living: Living, kept: Living, name: string): void {
  rmSync(living.at(name), { force: true });
  const text = kept.text(name);
  if (text !== null) writeFileSync(living.at(name), text, { mode: 0o600 });
}
